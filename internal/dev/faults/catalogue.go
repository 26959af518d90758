package main

import "slices"

// catalogue lists every fault.
func catalogue() []fault {
	return slices.Concat(workerFaults(), pointFaults(), brokerFaults(), refusalFaults(), networkFaults(), platformFaults(), sourceFaults(), controlFaults(), storageFaults(), mountFaults(), eventFaults())
}
