// Package properties reads, binds and writes configuration in the form that RocketMQ users already have: Java .properties files
// with the key names of the Java configuration classes.
//
// Its job ends at typed structs and a list of warnings. It opens no file (callers hand in bytes), knows no configuration struct
// (callers hand in pointers to theirs) and decides nothing about what a value means.
//
// Start reading at [Parse] for the syntax, at [Bind] for how a file reaches a struct, and at [Report.Warnings] for what is said
// about keys that reach none. The table of all keys that the Java servers know is keys.tsv.
//
// A struct takes part with tags:
//
//	type Config struct {
//		BrokerName string `prop:"brokerName"`
//		BrokerID   int64  `prop:"brokerId" default:"0"`
//		Retention  int    `prop:"fileReservedTime" default:"72" hot:"true"`
//	}
//
// # Differences from Java, on purpose
//
//   - A value that cannot be read is an error that names file, line, key, value and what is allowed. Java drops it silently and
//     runs with the default.
//   - A file is read as UTF-8 (Java: ISO-8859-1). A file that is not valid UTF-8 is read as ISO-8859-1, so old files keep their meaning.
//   - Blanks around a number are trimmed. Java ignores such a value, since the number does not parse.
package properties
