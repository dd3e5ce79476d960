package adapter

import (
	"strings"
	"testing"
)

// FuzzOrders reads the adapter contract from environments: what is read is what is handed on.
func FuzzOrders(f *testing.F) {
	f.Add("SERVER_NAME=one.test\nBIND_ADDR=127.1.2.3\nDATA_DIR=/d\nCA_CERT=/c\nCA_KEY=/k\nROOM_VERSION=10")
	f.Add("SERVER_NAME=one.test\nBIND_ADDR=::1\nDATA_DIR=d\nCA_CERT=c\nCA_KEY=k\nDNS_SERVER=127.0.0.1:53")
	f.Fuzz(func(t *testing.T, environment string) {
		getenv := func(lines []string) func(string) string {
			return func(name string) string {
				for _, line := range lines {
					if key, value, ok := strings.Cut(line, "="); ok && key == name {
						return value
					}
				}
				return ""
			}
		}
		orders, err := OrdersFrom(getenv(strings.Split(environment, "\n")))
		if err != nil {
			return
		}
		if again, err := OrdersFrom(getenv(orders.Environ())); err != nil || again != orders {
			t.Errorf("%+v became %+v: %v", orders, again, err)
		}
	})
}
