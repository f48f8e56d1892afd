package body

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"apogee/compat/fastjson"
)

// RegisterBrokerBody is the body of REGISTER_BROKER (103). Java class RegisterBrokerBody.
type RegisterBrokerBody struct {
	TopicConfigSerializeWrapper TopicConfigAndMappingSerializeWrapper `json:"topicConfigSerializeWrapper"`
	FilterServerList            []string                              `json:"filterServerList" fastjson:"nonnull"`
}

// Versions (MQVersion ordinals) at which the body of a registration changed.
const (
	versionFilterList = 37  // V3_0_11: before it, the topic table alone
	versionMapping    = 413 // V5_0_0: compressed bodies end with the static topics
)

// Bounds of a compressed registration; a frame is at most 16 MiB, but zlib shrinks a thousandfold.
const maxInflated = 256 << 20

var errTruncated = errors.New("register broker body: length beyond the end")

// Encode returns the body's bytes. The compressed form is zlib (level 9) of
//
//	int32 n, n bytes    DataVersion, JSON
//	int32 count         topics
//	  int32 n, n bytes  each: name read write perm filterType attributes, with blanks between
//	int32 n, n bytes    filter servers, a JSON array
//	int32 count         static topics
//	  int32 n, n bytes  each: TopicQueueMappingInfo, JSON
//
// It leaves out topics' order and topicSysFlag, and the mapping's version and details; the name server uses only the flag.
func (b *RegisterBrokerBody) Encode(compress bool) []byte {
	if !compress {
		return fastjson.Marshal(b)
	}
	w := &b.TopicConfigSerializeWrapper
	plain := appendChunk(nil, fastjson.Marshal(w.DataVersion))
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(w.TopicConfigTable)))
	for _, name := range slices.Sorted(maps.Keys(w.TopicConfigTable)) {
		plain = appendChunk(plain, w.TopicConfigTable[name].appendText(nil))
	}
	filters := b.FilterServerList
	if filters == nil {
		filters = []string{}
	}
	plain = appendChunk(plain, fastjson.Marshal(filters))
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(w.TopicQueueMappingInfoMap)))
	for _, name := range slices.Sorted(maps.Keys(w.TopicQueueMappingInfoMap)) {
		plain = appendChunk(plain, fastjson.Marshal(w.TopicQueueMappingInfoMap[name]))
	}
	var out bytes.Buffer
	z, _ := zlib.NewWriterLevel(&out, zlib.BestCompression) // the level is valid
	_, _ = z.Write(plain)                                   // a bytes.Buffer does not fail
	_ = z.Close()
	return out.Bytes()
}

func appendChunk(dst, chunk []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(chunk))), chunk...)
}

// appendText is TopicConfig.encode.
func (c *TopicConfig) appendText(dst []byte) []byte {
	dst = append(append(dst, c.TopicName...), ' ')
	for _, n := range [...]int32{c.ReadQueueNums, c.WriteQueueNums, c.Perm} {
		dst = append(strconv.AppendInt(dst, int64(n), 10), ' ')
	}
	dst = append(append(dst, c.TopicFilterType...), ' ')
	if c.Attributes == nil {
		return append(dst, "{}"...)
	}
	return fastjson.Append(dst, c.Attributes)
}

// parseTopicText is TopicConfig.decode.
func parseTopicText(text string) (*TopicConfig, error) {
	parts := strings.SplitN(text, " ", 6)
	if len(parts) < 5 {
		return nil, fmt.Errorf("register broker body: topic %q has no settings", text)
	}
	c := NewTopicConfig(parts[0])
	for i, dst := range [...]*int32{&c.ReadQueueNums, &c.WriteQueueNums, &c.Perm} {
		n, err := strconv.ParseInt(parts[i+1], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("register broker body: topic %q: %w", parts[0], err)
		}
		*dst = int32(n)
	}
	c.TopicFilterType = parts[4]
	if len(parts) == 6 && parts[5] != "" {
		_ = fastjson.Unmarshal([]byte(parts[5]), &c.Attributes) // Java ignores attributes that it cannot read
	}
	return &c, nil
}

// DecodeRegisterBroker reads the body of a registration. version is the request's. compressed is what the header says; it cannot be
// trusted, because Java's broker sends false even where it compresses, so a zlib stream is recognised by its first byte.
func DecodeRegisterBroker(data []byte, compressed bool, version int32) (*RegisterBrokerBody, error) {
	b := &RegisterBrokerBody{}
	switch {
	case len(data) == 0: // a broker without topics
		return b, nil
	case compressed || data[0] == 0x78:
		if err := b.inflate(data, version); err != nil {
			return nil, err
		}
		return b, nil
	case version < versionFilterList:
		return b, fastjson.Unmarshal(data, &b.TopicConfigSerializeWrapper)
	}
	return b, fastjson.Unmarshal(data, b)
}

func (b *RegisterBrokerBody) inflate(data []byte, version int32) error {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("register broker body: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxInflated+1))
	if err != nil {
		return fmt.Errorf("register broker body: %w", err)
	}
	if len(plain) > maxInflated {
		return fmt.Errorf("register broker body: %w", fastjson.ErrTooLarge)
	}
	r := chunks{rest: plain}
	w := &b.TopicConfigSerializeWrapper
	r.json(&w.DataVersion)
	w.TopicConfigTable = map[string]*TopicConfig{}
	for n := r.count(); n > 0 && r.err == nil; n-- {
		c, err := parseTopicText(string(r.chunk()))
		if err != nil || r.err != nil {
			return errors.Join(r.err, err)
		}
		w.TopicConfigTable[c.TopicName] = c
	}
	r.json(&b.FilterServerList)
	if version >= versionMapping {
		w.TopicQueueMappingInfoMap = map[string]*TopicQueueMappingInfo{}
		for n := r.count(); n > 0 && r.err == nil; n-- {
			m := &TopicQueueMappingInfo{}
			r.json(m)
			w.TopicQueueMappingInfoMap[m.Topic] = m
		}
	}
	return r.err
}

// chunks reads length-prefixed pieces; after the first error it gives nothing more.
type chunks struct {
	rest []byte
	err  error
}

func (r *chunks) count() int {
	if r.err != nil {
		return 0
	}
	if len(r.rest) < 4 {
		r.err = errTruncated
		return 0
	}
	n := int32(binary.BigEndian.Uint32(r.rest))
	r.rest = r.rest[4:]
	return int(n)
}

func (r *chunks) chunk() []byte {
	n := r.count()
	if n < 0 || n > len(r.rest) {
		r.err = errTruncated
	}
	if r.err != nil {
		return nil
	}
	c := r.rest[:n]
	r.rest = r.rest[n:]
	return c
}

func (r *chunks) json(v any) {
	if c := r.chunk(); r.err == nil {
		r.err = fastjson.Unmarshal(c, v)
	}
}
