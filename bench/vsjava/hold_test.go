package main

import (
	"errors"
	"os"
	"testing"
)

func TestHolderKeepsAPageOfEachBlock(t *testing.T) {
	h, err := holdMemory(t.Context(), holdLeaves+64<<20)
	if errors.Is(err, errFrames) || errors.Is(err, os.ErrPermission) {
		t.Skipf("SKIPPED, not seen that memory is held: %v; it runs for root", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.release(); err != nil {
			t.Error(err)
		}
	}()
	kept := 0
	for i := 0; i < len(h.memory); i += pageBytes {
		if h.memory[i] == 1 { // a page that went comes back empty
			kept++
		}
	}
	if pages := 64 << 20 / pageBytes; kept != h.blocks || kept < pages/blockPages || kept == pages {
		t.Errorf("%d pages of %d are left, %d blocks were found", kept, pages, h.blocks)
	}
}

func TestTooLittleToHold(t *testing.T) {
	if h, err := holdMemory(t.Context(), holdLeaves); err == nil {
		t.Errorf("%d blocks of nothing are held", h.blocks)
	}
}
