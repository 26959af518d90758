package s3

import (
	"crypto/md5" //nolint:gosec // S3's Content-MD5 and ETag; SHA-256 guards the content
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/pgcourier/pgcourier/internal/storage"
)

// sums are the checks that travel with one part.
type sums struct {
	sha256Hex, md5Base64, md5Hex, crc32c string
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(data []byte) sums {
	sha := sha256.Sum256(data)
	m := md5.Sum(data) //nolint:gosec // see the import
	crc := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
	return sums{
		sha256Hex: hex.EncodeToString(sha[:]), md5Base64: base64.StdEncoding.EncodeToString(m[:]),
		md5Hex: hex.EncodeToString(m[:]), crc32c: base64.StdEncoding.EncodeToString(crc),
	}
}

// confirms says whether a server's answer shows that it holds these bytes. A CRC32C
// that contradicts is an error.
func (s sums) confirms(etag, crc32c string) (bool, error) {
	if crc32c != "" && crc32c != s.crc32c {
		return false, fmt.Errorf("%w: the server computed another CRC32C", storage.ErrDamaged)
	}
	return crc32c != "" || strings.Trim(etag, `"`) == s.md5Hex, nil
}

// checksumHeaders go with each request that carries data.
func (u *upload) checksumHeaders(s sums) map[string]string {
	if u.driver.checksum != CRC32C {
		return nil
	}
	return map[string]string{minio.ChecksumCRC32C.Key(): s.crc32c}
}
