package namesrv

import (
	"strings"

	"apogee/compat/body"
	"apogee/compat/fastjson"
	"apogee/remoting"
	"apogee/remoting/code"
	"apogee/remoting/header"
)

// Requests 100 PUT_KV_CONFIG, 101 GET_KV_CONFIG, 102 DELETE_KV_CONFIG, 219 GET_KVLIST_BY_NAMESPACE: strings that operators keep
// here. Only namespace ORDER_TOPIC_CONFIG means something: the fixed queue order of a topic, such as "b-0:4;b-1:4".
//
// Answers: SUCCESS; QUERY_NOT_FOUND (22) for an unknown namespace or key when reading, not when deleting; SYSTEM_ERROR without
// namespace or key, or when the change cannot be written to disk (Java answers SUCCESS then and only logs).
//
// Checked against DefaultRequestProcessor and KVConfigManager.

func (s *Server) putKVConfig(r *remoting.Request) {
	var h header.PutKVConfigRequest
	incomplete := r.Decode(&h) != nil
	var err error
	switch {
	case incomplete && (!has(r, "namespace") || !has(r, "key")):
		r.Fail(code.SystemError, "namespace or key is null")
		return
	case incomplete: // Java puts null for a missing value, which reads as if nothing were there
		err = s.kv.remove(strings.Clone(h.Namespace), h.Key)
	default:
		err = s.kv.put(strings.Clone(h.Namespace), strings.Clone(h.Key), strings.Clone(h.Value))
	}
	if err != nil {
		s.fail(r, err)
		return
	}
	s.log.Info("KV config set", "namespace", h.Namespace, "key", h.Key, "value", h.Value, "addr", remoteText(r))
	s.kvChanged(h.Namespace)
	reply(r, nil, nil)
}

func (s *Server) getKVConfig(r *remoting.Request) {
	var h header.GetKVConfigRequest
	_ = r.Decode(&h)
	value, ok := s.kv.get(h.Namespace, h.Key)
	if !ok {
		r.Fail(code.QueryNotFound, "No config item, Namespace: %s Key: %s", orNull(r, "namespace"), orNull(r, "key"))
		return
	}
	reply(r, &header.GetKVConfigResponse{Value: value}, nil)
}

func (s *Server) deleteKVConfig(r *remoting.Request) {
	var h header.DeleteKVConfigRequest
	_ = r.Decode(&h)
	if err := s.kv.remove(strings.Clone(h.Namespace), h.Key); err != nil {
		s.fail(r, err)
		return
	}
	s.log.Info("KV config deleted", "namespace", h.Namespace, "key", h.Key, "addr", remoteText(r))
	s.kvChanged(h.Namespace)
	reply(r, nil, nil)
}

func (s *Server) getKVListByNamespace(r *remoting.Request) {
	var h header.GetKVListByNamespaceRequest
	_ = r.Decode(&h)
	text := s.kvList(h.Namespace)
	if text == nil {
		r.Fail(code.QueryNotFound, "No config item, Namespace: %s", orNull(r, "namespace"))
		return
	}
	reply(r, nil, text)
}

func has(r *remoting.Request, field string) bool {
	_, ok := r.Fields.Get(field)
	return ok
}

// kvList is a namespace as a body, nil if there is none.
func (s *Server) kvList(namespace string) []byte {
	table := s.kv.list(namespace)
	if table == nil {
		return nil
	}
	return fastjson.Marshal(&body.KVTable{Table: table})
}

// kvChanged makes routes be put together anew where they hold something out of the store.
func (s *Server) kvChanged(namespace string) {
	if namespace == orderTopicConfig {
		s.topology.changes.Add(1)
	}
}
