package properties

import (
	"slices"
	"strings"
)

// An alias says which key a Java system property or an environment variable stands for.
type alias struct{ name, key string }

// systemProperties are the -D names that Java reads where a configuration object takes its initial values. The tls.* names are
// keys themselves (org.apache.rocketmq.remoting.netty.TlsSystemConfig) and need no entry.
var systemProperties = []alias{
	{"rocketmq.home.dir", "rocketmqHome"},
	{"rocketmq.namesrv.addr", "namesrvAddr"},
	{"com.rocketmq.remoting.socket.sndbuf.size", "serverSocketSndBufSize"},
	{"com.rocketmq.remoting.socket.sndbuf.size", "clientSocketSndBufSize"},
	{"com.rocketmq.remoting.socket.rcvbuf.size", "serverSocketRcvBufSize"},
	{"com.rocketmq.remoting.socket.rcvbuf.size", "clientSocketRcvBufSize"},
	{"com.rocketmq.remoting.socket.backlog", "serverSocketBacklog"},
	{"com.rocketmq.remoting.client.connect.timeout", "connectTimeoutMillis"},
	{"com.rocketmq.remoting.client.channel.maxIdleTimeSeconds", "clientChannelMaxIdleTimeSeconds"},
	{"com.rocketmq.remoting.client.closeSocketIfTimeout", "clientCloseSocketIfTimeout"},
	{"com.rocketmq.remoting.client.worker.size", "clientWorkerThreads"},
	{"com.rocketmq.remoting.clientAsyncSemaphoreValue", "clientAsyncSemaphoreValue"},
	{"com.rocketmq.remoting.clientOnewaySemaphoreValue", "clientOnewaySemaphoreValue"},
	{"com.rocketmq.remoting.write.buffer.high.water.mark", "writeBufferHighWaterMark"},
	{"com.rocketmq.remoting.write.buffer.low.water.mark", "writeBufferLowWaterMark"},
	{"com.rocketmq.remoting.nettyPooledByteBufAllocatorEnable", "serverPooledByteBufAllocatorEnable"},
	{"rocketmq.broker.diskSpaceWarningLevelRatio", "diskSpaceWarningLevelRatio"},
	{"rocketmq.broker.diskSpaceCleanForciblyRatio", "diskSpaceCleanForciblyRatio"},
}

// environment are the variables that Java reads.
var environment = []alias{
	{"ROCKETMQ_HOME", "rocketmqHome"},
	{"NAMESRV_ADDR", "namesrvAddr"},
}

// KeySerializeType is the key under which the serialization choice of a process travels; Java has no config key for it, only the
// system property rocketmq.serialize.type and the variable ROCKETMQ_SERIALIZE_TYPE (RemotingCommand).
const KeySerializeType = "rocketmq.serialize.type"

// FromEnvironment returns the settings that environment variables make. lookup is os.LookupEnv, or a test's.
func FromEnvironment(lookup func(string) (string, bool)) *File {
	f := New("environment")
	add := func(name, key string) {
		if v, ok := lookup(name); ok && v != "" {
			f.put(Entry{Key: key, Value: v, Origin: "environment " + name})
		}
	}
	for _, a := range environment {
		add(a.name, a.key)
	}
	add("ROCKETMQ_SERIALIZE_TYPE", KeySerializeType)
	return f
}

// FromSystemProperties returns the settings that -D options make. Each item is name=value, as it stands after -D. What is no
// system property of Java's is taken as a configuration key, which Java has no way to do; see [IsSystemProperty].
func FromSystemProperties(items []string) *File {
	f := New("option -D")
	for _, item := range items {
		name, value, _ := strings.Cut(item, "=")
		if name == "" {
			continue
		}
		aliased := false
		for _, a := range systemProperties {
			if a.name == name {
				aliased = true
				f.put(Entry{Key: a.key, Value: value, Origin: "option -D" + name})
			}
		}
		if !aliased {
			f.put(Entry{Key: name, Value: value, Origin: "option -D" + name})
		}
	}
	return f
}

// IsSystemProperty tells whether Java reads name from its system properties, so that a file has the last word about it. A
// configuration key that is given by -D was meant for this one start and wins over the file.
func IsSystemProperty(name string) bool {
	return name == KeySerializeType || strings.HasPrefix(name, "tls.") ||
		slices.ContainsFunc(systemProperties, func(a alias) bool { return a.name == name })
}

// JavaOptions picks the -Dname=value options out of the text of JAVA_OPT or JAVA_OPT_EXT, which is where users of the Java scripts
// put them. Everything else there speaks to a JVM and is skipped.
func JavaOptions(text string) []string {
	var out []string
	for _, word := range strings.Fields(text) {
		if item, ok := strings.CutPrefix(word, "-D"); ok && strings.Contains(item, "=") {
			out = append(out, strings.Trim(item, `"'`))
		}
	}
	return out
}
