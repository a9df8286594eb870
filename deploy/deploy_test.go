// Package deploy holds what puts the program to work. Its tests compare these
// files with what the program knows and with each other.
package deploy

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/config"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	reference = regexp.MustCompile(`\$\{([A-Z_0-9]+)(:[-?])?([^}]*)\}`)
	assigned  = regexp.MustCompile(`(?m)^#?([A-Z_]+)=(.*)$`)
)

// secrets stand for what an operator would put into deploy/.env.
var secrets = map[string]string{
	"POSTGRES_PASSWORD": "fake-password", "REDIS_PASSWORD": "fake-password", "ADMIN_TOKEN": "fake-admin-token",
	"ENCRYPTION_KEY": strings.Repeat("0f", 32),
}

// interpolate puts values in place of ${NAME}, ${NAME:-default} and
// ${NAME:?what is missing}, as Compose does.
func interpolate(t *testing.T, text string) string {
	t.Helper()
	return reference.ReplaceAllStringFunc(text, func(s string) string {
		m := reference.FindStringSubmatch(s)
		if value, ok := secrets[m[1]]; ok {
			return value
		}
		if m[2] != ":-" {
			t.Errorf("%s has no value in this test", s)
		}
		return m[3]
	})
}

// section is what stands below a line and further to the right. Blank lines
// and comments are left out.
func section(t *testing.T, text, head string) []string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n"+head)
	if !found {
		t.Fatalf("there is no %q", head)
	}
	depth := len(head) - len(strings.TrimLeft(head, " "))
	var lines []string
	for _, line := range strings.Split(rest, "\n")[1:] {
		bare := strings.TrimLeft(line, " ")
		if bare == "" || strings.HasPrefix(bare, "#") {
			continue
		}
		if len(line)-len(bare) <= depth {
			break
		}
		lines = append(lines, line)
	}
	return lines
}

// environment is the block of that name in a section, as NAME=value.
func environment(t *testing.T, lines []string) (environ []string) {
	t.Helper()
	margin := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " "))]
	for _, line := range section(t, "\n"+strings.Join(lines, "\n"), margin+"environment:") {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		environ = append(environ, name+"="+strings.Trim(value, ` "`))
	}
	return environ
}

// value is that of a name in a section.
func value(t *testing.T, lines []string, name string) string {
	t.Helper()
	for _, line := range lines {
		if v, found := strings.CutPrefix(strings.TrimSpace(line), name+": "); found {
			return v
		}
	}
	t.Fatalf("there is no %s", name)
	return ""
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestComposeSettings loads the settings that the compose files give, and
// leaves an instance time enough to stop.
func TestComposeSettings(t *testing.T) {
	for file, head := range map[string]string{"compose.yaml": "  pool:", "compose.three.yaml": "x-pool:"} {
		lines := section(t, interpolate(t, read(t, file)), head)
		environ := environment(t, lines)
		c, report, err := config.Load(environ, "")
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var known []string
		for _, s := range report.Settings {
			known = append(known, s.Name)
		}
		for _, e := range environ {
			if name, _, _ := strings.Cut(e, "="); !slices.Contains(known, name) {
				t.Errorf("%s: %s is no setting", file, name)
			}
		}
		if stop := duration(t, value(t, lines, "stop_grace_period")); stop < c.ShutdownDelay+c.ShutdownGrace+10*time.Second {
			t.Errorf("%s: stopped after %v, with a delay of %v and a grace of %v", file, stop, c.ShutdownDelay, c.ShutdownGrace)
		}
	}
}

// TestComposeSecrets: every value that an operator has to give is in the
// example, which gives none itself.
func TestComposeSecrets(t *testing.T) {
	example := map[string]string{}
	for _, m := range assigned.FindAllStringSubmatch(read(t, "example.env"), -1) {
		example[m[1]] = m[2]
	}
	three := read(t, "compose.three.yaml")
	for _, m := range reference.FindAllStringSubmatch(three, -1) {
		given, there := example[m[1]]
		if !there || m[2] == ":?" && given != "" {
			t.Errorf("%s is %q in the example, present %v", m[1], given, there)
		}
	}
	for name := range secrets {
		if !strings.Contains(three, "${"+name+":?") {
			t.Errorf("compose.three.yaml starts without %s", name)
		}
	}
}

// TestBalancerKnowsTheInstances compares the addresses that the load balancer
// is given with those of the instances, and with whom these trust.
func TestBalancerKnowsTheInstances(t *testing.T) {
	three := interpolate(t, read(t, "compose.three.yaml"))
	balancer := section(t, three, "  balancer:")
	servers := regexp.MustCompile(`(?m)^\s+server (pool-\d) "\$\{(POOL_\d)\}"$`).FindAllStringSubmatch(read(t, "haproxy.cfg"), -1)
	if len(servers) != 3 {
		t.Fatalf("the load balancer has the servers %v", servers)
	}
	for _, server := range servers {
		own := value(t, section(t, three, "  "+server[1]+":"), "ipv4_address")
		if got := value(t, balancer, server[2]); got != own+":8787" {
			t.Errorf("%s is at %s, the load balancer looks for it at %s", server[1], own, got)
		}
	}
	c, _, err := config.Load(environment(t, section(t, three, "x-pool:")), "")
	if err != nil {
		t.Fatal(err)
	}
	if own := netip.MustParseAddr(value(t, balancer, "ipv4_address")); !slices.Contains(c.TrustedProxies, netip.PrefixFrom(own, 32)) {
		t.Errorf("the instances trust %v, the load balancer is at %v", c.TrustedProxies, own)
	}
}

// TestUnitsLeaveTime: systemd waits longer than the program takes to stop.
func TestUnitsLeaveTime(t *testing.T) {
	c, _, err := config.Load(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"ollama-api-pool.service", "ollama-api-pool@.service"} {
		text := read(t, unit)
		m := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(text)
		delay := c.ShutdownDelay
		if set := regexp.MustCompile(`(?m)^Environment=SHUTDOWN_DELAY=(\S+)$`).FindStringSubmatch(text); set != nil {
			delay = duration(t, set[1])
		}
		if m == nil || duration(t, m[1]+"s") < delay+c.ShutdownGrace+10*time.Second {
			t.Errorf("%s stops it after %v", unit, m)
		}
	}
}
