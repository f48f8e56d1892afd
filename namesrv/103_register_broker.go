package namesrv

import (
	"hash/crc32"
	"strings"

	"apogee/compat/body"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Request 103 REGISTER_BROKER: a broker tells who it is and which topics it has. topology_register.go has the rules.
//
// Answers: SUCCESS with the master's addresses for a slave, and with namespace ORDER_TOPIC_CONFIG as the body
// (returnOrderTopicConfigToBroker); SYSTEM_ERROR "crc32 not match", SYSTEM_ERROR "register broker failed" for an increment without
// its base, SYSTEM_ERROR for a body that cannot be read.
//
// Java's broker leaves the header's compressed flag false even where it compressed, which Java's name server then cannot read; this
// one looks at the body (body.DecodeRegisterBroker). Checked against DefaultRequestProcessor.registerBroker.

// zoneName is the extra pair in which a broker names its zone, and a client the zone that it wants brokers of (MixAll.ZONE_NAME).
const zoneName = "__ZONE_NAME"

// crcMask makes CRC sums fit into a Java int (UtilAll.crc32).
const crcMask = 0x7fffffff

func (s *Server) registerBroker(r *remoting.Request) {
	var h header.RegisterBrokerRequest
	if !decode(r, &h) {
		return
	}
	if h.BodyCRC32 != 0 && int32(crc32.ChecksumIEEE(r.Body)&crcMask) != h.BodyCRC32 {
		s.log.Warn("checksum of a registration does not match", "broker", h.BrokerName, "addr", remoteText(r))
		r.Fail(code.SystemError, "crc32 not match")
		return
	}
	b, err := body.DecodeRegisterBroker(r.Body, h.Compressed.Or(false), r.Version)
	if err != nil {
		s.log.Warn("registration cannot be read", "broker", h.BrokerName, "addr", remoteText(r), "err", err)
		r.Fail(code.SystemError, "Failed to decode RegisterBrokerBody, %v", err)
		return
	}
	reg := &registration{
		cluster: strings.Clone(h.ClusterName), name: strings.Clone(h.BrokerName), addr: strings.Clone(h.BrokerAddr), id: h.BrokerID,
		haAddr: strings.Clone(h.HAServerAddr), timeout: h.HeartbeatTimeoutMillis, acting: h.EnableActingMaster, body: b,
	}
	if zone, ok := r.Fields.Get(zoneName); ok {
		reg.zone = strings.Clone(zone)
	}
	conn := r.Conn()
	if conn != nil {
		conn.Attach(brokerConn{})
		reg.link = conn
	}
	got, ok := s.topology.register(reg)
	if !ok {
		r.Fail(code.SystemError, "register broker failed")
		return
	}
	if conn != nil && conn.Closed() {
		s.disconnected(conn) // the connection ended before the broker was known by it
	}
	var orders []byte
	if s.conf.Load().ReturnOrderTopicConfig {
		orders = s.kvList(orderTopicConfig)
	}
	reply(r, registerAnswer(got), orders)
}

// brokerConn marks a connection over which a broker has registered.
type brokerConn struct{}

// registerAnswer leaves out what is not there, as Java does with null fields.
func registerAnswer(got registered) header.Encodable {
	var f header.Fields
	if got.haAddr != "" {
		f = append(f, header.Pair{Key: "haServerAddr", Value: got.haAddr})
	}
	if got.masterAddr != "" {
		f = append(f, header.Pair{Key: "masterAddr", Value: got.masterAddr})
	}
	return f
}
