package seal

// Compression is what is applied to the dump before it is encrypted and hashed.
type Compression string

// The compressions of the contract.
const (
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
	Plain Compression = "none"
)

// Level is how much work the compression does for a smaller artifact. Plain has none.
type Level string

// The levels of the contract.
const (
	// Fast stores pieces in which nothing repeats nearly as they are.
	Fast Level = "fast"
	// Default also compresses the letters of such pieces.
	Default Level = "default"
	// Best searches longer for repetitions, and zstd further back. Of gzip it is never larger than
	// Default; zstd can leave some percent more where nothing but digits repeats.
	Best Level = "best"
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
