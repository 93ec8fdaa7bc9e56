package websocket

import "unicode/utf8"

// texts are UTF-8, of every length and at every border.
var texts = []string{
	"", "a", "Hello-µ@ßöäüàá-UTF-8!!", "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
	"\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\ufffe", "\uffff",
	"\U00010000", "\U0001F600", "\U000FFFFF", "\U0010FFFF", "\u2028\u2029", "\ufeffmark", "e\u0301",
}

// broken is no UTF-8.
var broken = []string{
	"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf", "\xc0", "\xc1", "\xc2", "\xdf", "\xe0", "\xe0\xa0", "\xef\xbf",
	"\xf0\x90\x80", "\xf4\x8f\xbf", "\xf5", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff", "\xfe\xfe\xff\xff",
	"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf", // slashes, too long
	"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80",
	"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf", // surrogates
	"\xed\xa0\x80\xed\xb0\x80", "\xed\xad\xbf\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf",
	"\xf4\x90\x80\x80", "\xf7\xbf\xbf\xbf", "\xc2a", "\xe1\x80a", "\xf1\x80\x80a", "a\xffb",
	"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64",
	"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64",
}

// unicode is section 6.
func unicode() (out []wsCase) {
	for i, s := range texts {
		out = append(out, begin("6/text %d", i).echo(opText, text(s)).fine(),
			begin("6/text %d in bytes", i).parts(opText, octets(s)...).fine())
	}
	for plane := rune(0); plane <= 16; plane++ { // code points that are no characters
		for _, low := range []rune{0xfffe, 0xffff} {
			s := string(plane<<16 | low)
			if !utf8.ValidString(s) {
				panic("BUG: " + s)
			}
			out = append(out, begin("6/noncharacter %x", plane<<16|low).echo(opText, text(s)).fine())
		}
	}
	for i, s := range broken {
		out = append(out,
			begin("6/no text %d", i).frame(bitFin|opText, text(s)).fails(1007),
			begin("6/no text %d after text", i).echo(opText, text("before")).frame(opText, text("abc")).frame(bitFin, text(s)).fails(1007),
			begin("6/no text %d as bytes", i).echo(opBinary, text(s)).fine())
	}
	for i, s := range []string{"\xff", "\xed\xa0\x80", "\xf4\x90", "\xc0"} { // told before the message is whole
		out = append(out, begin("6/no text %d, unfinished", i).frame(opText, text("abc")).frame(opMore, text(s)).fails(1007))
	}
	return out
}

// octets is s byte by byte, at least one part.
func octets(s string) (out [][]byte) {
	for i := range len(s) {
		out = append(out, []byte{s[i]})
	}
	if out == nil {
		out = [][]byte{nil}
	}
	return out
}
