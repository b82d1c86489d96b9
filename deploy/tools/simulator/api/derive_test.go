package api_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// reference is the id that a simulated provider gives a payment of account
// default: stable, so that two runs say the same.
func reference(provider, id string) string {
	sum := sha256.Sum256([]byte(provider + "\x00default\x00payments\x00" + id))
	return hex.EncodeToString(sum[:16])
}

func uuid(provider, id string) string {
	r := reference(provider, id)
	return r[:8] + "-" + r[8:12] + "-4" + r[13:16] + "-a" + r[17:20] + "-" + r[20:]
}

// number is Yapay's transaction id, plus something.
func number(id string, plus int64) string {
	raw, _ := hex.DecodeString(reference("yapay", id)[:8])
	return strconv.FormatInt(int64(binary.BigEndian.Uint32(raw))+plus, 10)
}
