package inspect

import (
	"encoding/json"
	"fmt"
)

// DamagedFile is where a store notes the parts of its log that are damaged (docs/format/own.md). Java knows no such file.
const DamagedFile = "damaged.json"

// DamagedPart is one of them: log offsets.
type DamagedPart struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// ParseDamaged reads the file's text.
func ParseDamaged(text []byte) (parts []DamagedPart, err error) {
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, fmt.Errorf("%s: %w", DamagedFile, err)
	}
	return parts, nil
}
