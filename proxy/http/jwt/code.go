package jwt

// codes are the numbers of statuses in dynamic metadata, as Envoy gives them.
var codes = map[status]int{
	missing: 1, notYetValid: 2, expired: 3, badForm: 4, badHeader64: 5, badHeaderJSON: 6, badAlg: 7, otherAlg: 8, badKid: 9,
	badPayload64: 10, badPayloadJSON: 11,
	notText("iss"): 12, notText("sub"): 13,
	notNumber("iat"): 14, notPositive("iat"): 15, notNumber("nbf"): 16, notPositive("nbf"): 17, notNumber("exp"): 18, notPositive("exp"): 19,
	notText("jti"): 20, badAud: 21, badSignature64: 22, unknownIssuer: 24, badAudience: 25, fails: 26,
	noSuchKey: 32, noFetch: 40,
}

func notText(claim string) status { return status("Jwt payload [" + claim + "] field is not a string") }

func notNumber(claim string) status {
	return status("Jwt payload [" + claim + "] field is not an integer")
}

func notPositive(claim string) status {
	return status("Jwt payload [" + claim + "] field is not a positive 64 bit integer")
}
