package remoting

import "strings"

// Language is the sender's language code (spec: remoting.md 2.5). What a frame names and this list does not have is
// UnknownLanguage: Java's null, which is not an error.
type Language int8

// The languages, by their LanguageCode ordinals.
const (
	Java Language = iota
	CPP
	DotNet
	Python
	Delphi
	Erlang
	Ruby
	Other
	HTTP
	Go
	PHP
	OMS
	Rust
	NodeJS
	UnknownLanguage Language = -1
)

var languageNames = [...]string{
	Java: "JAVA", CPP: "CPP", DotNet: "DOTNET", Python: "PYTHON", Delphi: "DELPHI", Erlang: "ERLANG", Ruby: "RUBY",
	Other: "OTHER", HTTP: "HTTP", Go: "GO", PHP: "PHP", OMS: "OMS", Rust: "RUST", NodeJS: "NODE_JS",
}

// String is the Java name of the language, "" if unknown.
func (l Language) String() string {
	if l < 0 || int(l) >= len(languageNames) {
		return ""
	}
	return languageNames[l]
}

// languageByOrdinal maps what the binary header and a JSON number carry.
func languageByOrdinal(n int64) Language {
	if n < 0 || n >= int64(len(languageNames)) {
		return UnknownLanguage
	}
	return Language(n)
}

// languageByName takes a name in any case, as fastjson2 does.
func languageByName(s string) Language {
	if s == "JAVA" { // nearly always
		return Java
	}
	for i, name := range languageNames {
		if strings.EqualFold(name, s) {
			return Language(i)
		}
	}
	return UnknownLanguage
}
