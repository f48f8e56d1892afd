package namesrv

import (
	"testing"

	"apogee/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
