package remoting

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// ProxyHeader is what a load balancer says about the connection that it forwards (PROXY protocol v1 and v2; spec: remoting.md
// 1.2). Java keeps it as channel attributes proxy_protocol_addr and so on.
type ProxyHeader struct {
	Source, Dest netip.AddrPort // zero if the proxy speaks for itself (LOCAL, UNKNOWN)
	TLVs         []ProxyTLV     // v2 only
}

// ProxyTLV is one type-length-value of a v2 header.
type ProxyTLV struct {
	Type  byte
	Value []byte
}

// Layout of a v2 header:
//
//	offset size field
//	     0   12 signature
//	    12    1 version (2) and command: 0 LOCAL, 1 PROXY
//	    13    1 family (1 IPv4, 2 IPv6, 3 unix) and transport
//	    14    2 length of the rest
//	    16    n addresses: source, destination, source port, destination port
//	  16+n    m TLVs: type, int16 length, value
//
// A v1 header is a line: PROXY TCP4|TCP6|UNKNOWN source destination sourcePort destinationPort CR LF, at most 107 bytes.
const (
	proxyV1Start  = "PROXY "
	proxyV1Max    = 107
	proxyV2Start  = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV2Fixed  = 16
	proxyV2Family = 13
)

// parseProxyHeader reads the PROXY header at the start of b. It returns 0 and no error if b is too short to tell. Neither start
// can be that of a frame, whose length would be beyond any limit.
func parseProxyHeader(b []byte) (int, *ProxyHeader, error) {
	start := proxyV1Start
	if b[0] == proxyV2Start[0] {
		start = proxyV2Start
	}
	n := min(len(b), len(start))
	switch {
	case string(b[:n]) != start[:n]:
		return 0, nil, badFrame("begins with %q", b[:n])
	case n < len(start):
		return 0, nil, nil
	case start == proxyV1Start:
		return parseProxyV1(b)
	}
	return parseProxyV2(b)
}

func parseProxyV1(b []byte) (int, *ProxyHeader, error) {
	end := bytes.Index(b[:min(len(b), proxyV1Max)], []byte("\r\n"))
	if end < 0 {
		if len(b) >= proxyV1Max {
			return 0, nil, badFrame("PROXY line without end")
		}
		return 0, nil, nil
	}
	line := string(b[:end])
	w := strings.Split(line, " ")
	if len(w) >= 2 && w[1] == "UNKNOWN" {
		return end + 2, &ProxyHeader{}, nil
	}
	if len(w) != 6 || w[1] != "TCP4" && w[1] != "TCP6" {
		return 0, nil, badFrame("PROXY line %q", line)
	}
	source, err := proxyAddr(w[2], w[4])
	if err != nil {
		return 0, nil, badFrame("PROXY line %q: %v", line, err)
	}
	dest, err := proxyAddr(w[3], w[5])
	if err != nil {
		return 0, nil, badFrame("PROXY line %q: %v", line, err)
	}
	return end + 2, &ProxyHeader{Source: source, Dest: dest}, nil
}

func proxyAddr(host, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(p)), err
}

func parseProxyV2(b []byte) (int, *ProxyHeader, error) {
	if len(b) < proxyV2Fixed {
		return 0, nil, nil
	}
	command := b[12]
	if command>>4 != 2 || command&15 > 1 {
		return 0, nil, badFrame("PROXY version and command %#x", command)
	}
	size := proxyV2Fixed + int(binary.BigEndian.Uint16(b[14:]))
	if len(b) < size {
		return 0, nil, nil
	}
	h, rest := &ProxyHeader{}, b[proxyV2Fixed:size]
	addrLen := map[byte]int{1: 4, 2: 16}[b[proxyV2Family]>>4]
	switch {
	case command&15 == 0:
		return size, h, nil
	case addrLen == 0: // unix sockets and what is not specified: the connection's own address stays
		return size, h, nil
	case len(rest) < 2*addrLen+4:
		return 0, nil, badFrame("PROXY addresses of %d bytes", len(rest))
	}
	source, _ := netip.AddrFromSlice(rest[:addrLen])
	dest, _ := netip.AddrFromSlice(rest[addrLen : 2*addrLen])
	ports := rest[2*addrLen:]
	h.Source = netip.AddrPortFrom(source, binary.BigEndian.Uint16(ports))
	h.Dest = netip.AddrPortFrom(dest, binary.BigEndian.Uint16(ports[2:]))
	for rest = ports[4:]; len(rest) >= 3; {
		n := int(binary.BigEndian.Uint16(rest[1:]))
		if n > len(rest)-3 {
			return 0, nil, badFrame("PROXY TLV of %d bytes, %d left", n, len(rest)-3)
		}
		h.TLVs = append(h.TLVs, ProxyTLV{Type: rest[0], Value: bytes.Clone(rest[3 : 3+n])})
		rest = rest[3+n:]
	}
	return size, h, nil
}
