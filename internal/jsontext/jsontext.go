// Package jsontext has what writers of JSON share: the escapes of a string, as Java's fastjson writes them.
package jsontext

const hexDigits = "0123456789abcdef"

// AppendEscape appends a byte that cannot stand in a JSON string as it is: a quote, a backslash, or a character below 0x20. The short
// form is taken where there is one.
func AppendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
