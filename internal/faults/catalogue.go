package main

import "slices"

// catalogue lists every fault.
func catalogue() []fault {
	return slices.Concat(workerFaults(), pointFaults(), brokerFaults(), networkFaults(), sourceFaults(), controlFaults(), storageFaults(), eventFaults())
}
