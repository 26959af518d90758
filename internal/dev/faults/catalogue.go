package main

import "slices"

// catalogue lists every fault.
func catalogue() []fault {
	return slices.Concat(workerFaults(), vanishFaults(), pointFaults(), brokerFaults(), embeddedFaults(), refusalFaults(), networkFaults(), platformFaults(), sourceFaults(), controlFaults(), storageFaults(), mountFaults(), noticeFaults(), eventFaults())
}
