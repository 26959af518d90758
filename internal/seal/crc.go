package seal

import "hash/crc32"

// CRC32C goes on with a CRC-32C (Castagnoli), which begins as 0. Processors compute it
// themselves: 8 GB/s and more where SHA-256 is 1.7 GB/s.
func CRC32C(crc uint32, p []byte) uint32 {
	return crc32.Update(crc, crc32.MakeTable(crc32.Castagnoli), p) // made once
}
