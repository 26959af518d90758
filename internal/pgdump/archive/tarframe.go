package archive

const (
	faultPadding    fault = "padding that is not zero"
	faultAfterEnd   fault = "bytes after the archive's end"
	faultBlockCount fault = "the archive does not end at a block"
)

// tarState is the position of the next byte in a tar archive.
type tarState uint8

const (
	tarHeaderBlock tarState = iota
	tarBody                 // of a member
	tarExtension            // the body of an extended header for the next member
	tarPadding              // after a member, to the block's end
	tarEnd                  // zeros after the last member
)

// tarMembers checks the members of an archive.
type tarMembers interface {
	// open begins a regular member.
	open(name string) error
	// body processes bytes of the member.
	body(p []byte) (int, error)
	// end is called after the last byte of the member.
	end() error
	// complete returns an error if the archive may not end here.
	complete() error
}

// tarFrame checks the tar format itself. archive/tar is unsuitable: it reports a clean end without
// the two zero blocks, and for an empty file.
type tarFrame struct {
	members  tarMembers
	state    tarState
	block    [tarBlock]byte
	have     int
	left     int64 // bytes of the body to come
	pad      int64 // bytes of padding after it
	zeros    int64 // zero bytes of the end so far
	pax      []byte
	extended bool  // an extended header was read, its member was not
	size     int64 // from that header; -1: none
	total    int64
}

func newTarFrame(m tarMembers) *tarFrame { return &tarFrame{members: m, size: -1} }

func (t *tarFrame) scan(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := t.step(p[n:])
		n += m
		t.total += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (t *tarFrame) step(p []byte) (int, error) {
	switch t.state {
	case tarHeaderBlock:
		n := copy(t.block[t.have:], p)
		if t.have += n; t.have < tarBlock {
			return n, nil
		}
		t.have = 0
		return n, t.header()
	case tarBody, tarExtension:
		n, err := t.take(p[:min(t.left, int64(len(p)))])
		if t.left -= int64(n); t.left == 0 && err == nil {
			err = t.endMember()
		}
		return n, err
	case tarPadding:
		n := int(min(t.pad, int64(len(p))))
		if i := nonZero(p[:n]); i >= 0 {
			return i, faultPadding
		}
		if t.pad -= int64(n); t.pad == 0 {
			t.state = tarHeaderBlock
		}
		return n, nil
	default:
		if i := nonZero(p); i >= 0 {
			return i, faultAfterEnd
		}
		t.zeros += int64(len(p))
		return len(p), nil
	}
}

// header processes a whole block where a member or the end may begin.
func (t *tarFrame) header() error {
	if nonZero(t.block[:]) < 0 {
		if t.extended {
			return faultTarHeader
		}
		t.state, t.zeros = tarEnd, tarBlock
		return t.members.complete()
	}
	h, err := parseTarHeader(&t.block)
	switch {
	case err != nil:
		return err
	case h.kind == tarExtended && (t.extended || h.size > maxPax):
		return faultTarHeader
	case h.kind == tarExtended:
		t.state, t.extended, t.pax = tarExtension, true, t.pax[:0]
	default:
		if t.size >= 0 {
			h.size = t.size
		}
		t.state, t.extended, t.size = tarBody, false, -1
		if err := t.members.open(h.name); err != nil {
			return err
		}
	}
	t.left, t.pad = h.size, -h.size&(tarBlock-1)
	if t.left == 0 {
		return t.endMember()
	}
	return nil
}

// take processes bytes of the current member or extended header.
func (t *tarFrame) take(p []byte) (int, error) {
	if t.state == tarExtension {
		t.pax = append(t.pax, p...)
		return len(p), nil
	}
	return t.members.body(p)
}

// endMember is called after the last byte of a member or extended header.
func (t *tarFrame) endMember() (err error) {
	if t.state == tarExtension {
		t.size, err = paxSize(t.pax)
	} else {
		err = t.members.end()
	}
	if t.state = tarPadding; t.pad == 0 {
		t.state = tarHeaderBlock
	}
	return err
}

func (t *tarFrame) finish() error {
	switch {
	case t.state != tarEnd || t.zeros < 2*tarBlock:
		return faultCut
	case t.total%tarBlock != 0:
		return faultBlockCount
	}
	return nil
}
