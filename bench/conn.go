package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// conn is one connection and the buffer of what it has read.
type conn struct {
	net.Conn
	buf      []byte
	r, w     int
	opaqueAt int // where it stood in the last answer
}

const (
	readBuffer = 64 << 10  // grows when an answer is larger
	pullBuffer = 256 << 10 // of those who get messages
	maxAnswer  = 64 << 20
)

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, buf: make([]byte, readBuffer)}, nil
}

// dialPull is dial for whoever gets messages.
func dialPull(addr string) (*conn, error) {
	c, err := dial(addr)
	if err == nil {
		c.buf = make([]byte, pullBuffer)
	}
	return c, err
}

// fill reads once from the socket.
func (c *conn) fill() error {
	if c.r > 0 {
		copy(c.buf, c.buf[c.r:c.w])
		c.w -= c.r
		c.r = 0
	}
	if c.w == len(c.buf) {
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	n, err := c.Read(c.buf[c.w:])
	c.w += n
	return err
}

// next is the next whole answer in the buffer; ok is false when more has to be read. It is valid until fill. What the broker asks or tells by
// itself is passed over: its numbers are none of ours.
func (c *conn) next() (a answer, ok bool, err error) {
	for {
		if a, ok, err = c.frame(); err != nil || !ok || a.slot >= 0 {
			return a, ok, err
		}
	}
}

func (c *conn) frame() (a answer, ok bool, err error) {
	if c.w-c.r < 4 {
		return a, false, nil
	}
	size := int(binary.BigEndian.Uint32(c.buf[c.r:]))
	if size < 4 || size > maxAnswer {
		return a, false, fmt.Errorf("answer of %d bytes", size)
	}
	if c.w-c.r < 4+size {
		return a, false, nil
	}
	a, err = parseAnswerLike(c.buf[c.r+4:c.r+4+size], &c.opaqueAt)
	c.r += 4 + size
	return a, err == nil, err
}

// call makes one request and waits for its answer, for what is done before and after a run.
func (c *conn) call(s Serialization, code int, ext []pair, body []byte) (answer, error) {
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return answer{}, err
	}
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	if _, err := c.Write(frame(s, code, opaqueBase, ext, body)); err != nil {
		return answer{}, err
	}
	for {
		a, ok, err := c.next()
		if err != nil || ok {
			return a, err
		}
		if err := c.fill(); err != nil {
			return a, err
		}
	}
}

// Request codes that the runs use (spec: request-codes.tsv).
const (
	codePull           = 11
	codeCreateTopic    = 17
	codeBrokerConfig   = 26
	codeMaxOffset      = 30
	codeMinOffset      = 31
	codeSendBack       = 36
	codeEndTransaction = 37
	codeClusterInfo    = 106
	codeSendV2         = 310
	codeHAStatus       = 907
	codeSendBatch      = 320
	codePop            = 200050
	codeAck            = 200051
	codeBatchAck       = 200151
)

// FindBroker asks a name server for the address of a master: of the named broker, or of the only one.
func FindBroker(ctx context.Context, namesrv, name string) (string, error) {
	c, err := dial(namesrv)
	if err != nil {
		return "", fmt.Errorf("name server: %w", err)
	}
	defer func() { _ = c.Close() }()
	a, err := c.call(JSON, codeClusterInfo, nil, nil)
	if err != nil {
		return "", fmt.Errorf("name server %s: %w", namesrv, err)
	}
	if a.code != 0 {
		return "", fmt.Errorf("name server %s: %s", namesrv, a.text())
	}
	found, err := masters(a.body)
	if err != nil {
		return "", fmt.Errorf("name server %s: %w", namesrv, err)
	}
	if name != "" {
		addr, ok := found[name]
		if !ok {
			return "", fmt.Errorf("name server %s knows no master of broker %s", namesrv, name)
		}
		return addr, nil
	}
	if len(found) != 1 {
		return "", fmt.Errorf("name server %s knows %d masters; say which with --broker", namesrv, len(found))
	}
	for _, addr := range found {
		return addr, nil
	}
	return "", ctx.Err()
}

// masters reads the addresses of brokers with id 0. The answer has bare numbers as keys, which JSON does not allow: `{0:"` is the one
// place where they stand.
func masters(body []byte) (map[string]string, error) {
	text := string(body)
	var fixed strings.Builder
	for i := 0; i < len(text); i++ {
		fixed.WriteByte(text[i])
		if (text[i] == '{' || text[i] == ',') && i+1 < len(text) && text[i+1] >= '0' && text[i+1] <= '9' {
			end := i + 1
			for end < len(text) && text[end] >= '0' && text[end] <= '9' {
				end++
			}
			fixed.WriteString(strconv.Quote(text[i+1 : end]))
			i = end - 1
		}
	}
	var info struct {
		BrokerAddrTable map[string]struct {
			BrokerAddrs map[string]string `json:"brokerAddrs"`
		} `json:"brokerAddrTable"`
	}
	if err := json.Unmarshal([]byte(fixed.String()), &info); err != nil {
		return nil, fmt.Errorf("cluster information: %w", err)
	}
	out := map[string]string{}
	for name, b := range info.BrokerAddrTable {
		if addr := b.BrokerAddrs["0"]; addr != "" {
			out[name] = addr
		}
	}
	return out, nil
}

// createTopic makes a topic at the broker.
func createTopic(c *conn, topic string, queues int) error {
	a, err := c.call(JSON, codeCreateTopic, []pair{
		{"topic", topic},
		{"defaultTopic", "TBW102"},
		{"readQueueNums", strconv.Itoa(queues)},
		{"writeQueueNums", strconv.Itoa(queues)},
		{"perm", "6"},
		{"topicFilterType", "SINGLE_TAG"},
		{"topicSysFlag", "0"},
		{"order", "false"},
	}, nil)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	if a.code != 0 {
		return fmt.Errorf("create topic %s: %s", topic, a.text())
	}
	return nil
}

// offset asks for the first (codeMinOffset) or next (codeMaxOffset) offset of a queue.
func offset(c *conn, code int, topic string, queue int) (int64, error) {
	a, err := c.call(JSON, code, []pair{{"topic", topic}, {"queueId", strconv.Itoa(queue)}}, nil)
	if err != nil {
		return 0, err
	}
	n, ok := a.field(JSON, "offset")
	if a.code != 0 || !ok {
		return 0, fmt.Errorf("offset of %s/%d: %s", topic, queue, a.text())
	}
	return n, nil
}

var errNoBroker = errors.New("a name server or a broker has to be given")

// brokerOf is the address to make load on: broker itself if it is an address, else what the name server says.
func brokerOf(ctx context.Context, namesrv, broker string) (string, error) {
	if _, _, err := net.SplitHostPort(broker); err == nil {
		return broker, nil
	}
	if namesrv == "" {
		return "", errNoBroker
	}
	first, _, _ := strings.Cut(namesrv, ";")
	return FindBroker(ctx, first, broker)
}

// Request makes one request without fields and expects success, for what an operator asks of a broker meanwhile.
func Request(addr string, code int) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	a, err := c.call(JSON, code, nil, nil)
	if err == nil && a.code != 0 {
		err = errors.New(a.text())
	}
	if err != nil {
		return fmt.Errorf("request %d to %s: %w", code, addr, err)
	}
	return nil
}
