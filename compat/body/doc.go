// Package body has the JSON bodies of the remoting protocol and of the files under store/config as Go structs.
//
// A struct is named after its Java class and its fields after the Java bean's properties; how it looks as text (spec: remoting.md
// 6, store.md 10.2) is the business of compat/fastjson: decode with fastjson.Unmarshal, encode with fastjson.Marshal (bodies) or
// fastjson.MarshalPretty (files). A nil map, slice or pointer is Java's null and not written, unless Java makes it together with
// the bean.
//
// Types that live in configuration files have Extras: members that this program does not know and writes back as they were.
//
// The package holds shapes and the few rules that belong to them (how versions compare, what a new group looks like). It does no I/O.
// Start at topic.go and group.go for files, at heartbeat.go for clients, at route.go and register.go for the name server.
package body
