package tlsconf

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
)

// Encrypted keys come as PKCS #8 EncryptedPrivateKeyInfo (RFC 5958), encrypted by PBES2 with PBKDF2 (RFC 8018), which is what
// openssl writes and what Java's netty reads. The standard library only reads plain keys.

const encryptedKey = "ENCRYPTED PRIVATE KEY"

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// A prf is a pseudo-random function of PBKDF2; a scheme is a cipher with its key length.
type (
	prf struct {
		oid asn1.ObjectIdentifier
		new func() hash.Hash
	}
	scheme struct {
		oid asn1.ObjectIdentifier
		key int
		new func([]byte) (cipher.Block, error)
	}
)

var (
	prfs = []prf{
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}, sha1.New}, // the default
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, sha256.New},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}, sha512.New},
	}
	schemes = []scheme{
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}, 16, aes.NewCipher},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}, 24, aes.NewCipher},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, 32, aes.NewCipher},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}, 24, des.NewTripleDESCipher},
	}
)

type encryptedInfo struct {
	Algorithm struct {
		ID     asn1.ObjectIdentifier
		Params struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	}
	Data []byte
}

type kdfParams struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// maxIterations bounds the work that a key file can ask for.
const maxIterations = 2_000_000

var errPassword = errors.New("the password does not open the key")

// openKey returns the key in PEM without its encryption; one that has none is returned as it is.
func openKey(text []byte, password string) ([]byte, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != encryptedKey {
		return text, nil // X509KeyPair says what is wrong with it, if anything
	}
	var info encryptedInfo
	if rest, err := asn1.Unmarshal(block.Bytes, &info); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("encrypted key: %w", errors.Join(err, errors.New("not PKCS #8 with PBES2")))
	}
	if !info.Algorithm.ID.Equal(oidPBES2) || !info.Algorithm.Params.KDF.Algorithm.Equal(oidPBKDF2) {
		return nil, errors.New("encrypted key: only PBES2 with PBKDF2 is supported (openssl pkcs8 -topk8 -v2 aes256)")
	}
	der, err := decrypt(&info, password)
	if err != nil {
		return nil, fmt.Errorf("encrypted key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func decrypt(info *encryptedInfo, password string) ([]byte, error) {
	var kdf kdfParams
	if _, err := asn1.Unmarshal(info.Algorithm.Params.KDF.Parameters.FullBytes, &kdf); err != nil {
		return nil, err
	}
	if kdf.Iterations < 1 || kdf.Iterations > maxIterations {
		return nil, fmt.Errorf("%d iterations", kdf.Iterations)
	}
	newHash := sha1.New
	if len(kdf.PRF.Algorithm) > 0 {
		newHash = nil
		for _, p := range prfs {
			if p.oid.Equal(kdf.PRF.Algorithm) {
				newHash = p.new
			}
		}
	}
	if newHash == nil {
		return nil, fmt.Errorf("hash %v is not supported", kdf.PRF.Algorithm)
	}
	for _, s := range schemes {
		if !s.oid.Equal(info.Algorithm.Params.Cipher.Algorithm) {
			continue
		}
		var iv []byte
		if _, err := asn1.Unmarshal(info.Algorithm.Params.Cipher.Parameters.FullBytes, &iv); err != nil {
			return nil, err
		}
		key, err := pbkdf2.Key(newHash, password, kdf.Salt, kdf.Iterations, s.key)
		if err != nil {
			return nil, err
		}
		b, err := s.new(key)
		if err != nil {
			return nil, err
		}
		return openCBC(b, iv, info.Data)
	}
	return nil, fmt.Errorf("cipher %v is not supported", info.Algorithm.Params.Cipher.Algorithm)
}

func openCBC(b cipher.Block, iv, data []byte) ([]byte, error) {
	size := b.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errors.New("lengths do not fit the cipher")
	}
	out := make([]byte, len(data))
	cipher.NewCBCDecrypter(b, iv).CryptBlocks(out, data)
	pad := int(out[len(out)-1])
	if pad < 1 || pad > size {
		return nil, errPassword
	}
	for _, p := range out[len(out)-pad:] {
		if int(p) != pad {
			return nil, errPassword
		}
	}
	return out[:len(out)-pad], nil
}
