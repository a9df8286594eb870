package app_test

import (
	"testing"

	"ollama-api-pool/internal/testkit/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }
