package seal

// Compression is what is applied to the dump before it is encrypted and hashed.
type Compression string

// The compressions of the contract.
const (
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
	Plain Compression = "none"
)

// Encryption is how the compressed bytes are protected.
type Encryption string

// The encryptions of the contract.
const (
	Unencrypted Encryption = "none"
	Age         Encryption = "age"
)

// Extension is the end of an artifact's file name, for instance ".gz.age".
func Extension(c Compression, e Encryption) string {
	ext := map[Compression]string{Gzip: ".gz", Zstd: ".zst", Plain: ""}[c]
	if e == Age {
		ext += ".age"
	}
	return ext
}
