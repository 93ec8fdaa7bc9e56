package h2

import (
	"encoding/binary"

	"github.com/weftmesh/weft/proxy/http/codec"
)

// preface is what a client begins with.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	frameHeader = 9
	// ourMaxFrame is the SETTINGS_MAX_FRAME_SIZE that we hold peers to: the
	// default, so that it need not be sent.
	ourMaxFrame = 16 << 10
	maxWindow   = 1<<31 - 1
	maxStreamID = 1<<31 - 1
	// defaultWindow is a window's size before SETTINGS or WINDOW_UPDATE.
	defaultWindow = 1<<16 - 1
)

type frameType uint8

const (
	frameData frameType = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

// Flags; END_STREAM and ACK share a bit.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings.
const (
	settingHeaderTable      = 0x1
	settingEnablePush       = 0x2
	settingMaxStreams       = 0x3
	settingInitialWindow    = 0x4
	settingMaxFrame         = 0x5
	settingMaxHeaderList    = 0x6
	settingExtendedConnect  = 0x8
	maxSettingsInOneMessage = 32
)

func appendFrame(out []byte, length int, t frameType, flags byte, id uint32) []byte {
	return append(out, byte(length>>16), byte(length>>8), byte(length), byte(t), flags,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendSetting(out []byte, id uint16, value uint32) []byte {
	out = binary.BigEndian.AppendUint16(out, id)
	return binary.BigEndian.AppendUint32(out, value)
}

func appendReset(out []byte, id uint32, code codec.ResetCode) []byte {
	out = appendFrame(out, 4, frameReset, 0, id)
	return binary.BigEndian.AppendUint32(out, uint32(code))
}

func appendWindowUpdate(out []byte, id, n uint32) []byte {
	out = appendFrame(out, 4, frameWindowUpdate, 0, id)
	return binary.BigEndian.AppendUint32(out, n)
}

func appendGoAway(out []byte, last uint32, code codec.ResetCode, debug string) []byte {
	out = appendFrame(out, 8+len(debug), frameGoAway, 0, 0)
	out = binary.BigEndian.AppendUint32(out, last)
	out = binary.BigEndian.AppendUint32(out, uint32(code))
	return append(out, debug...)
}
