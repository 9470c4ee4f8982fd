// Says of each dashboard what Grafana's own schema does not know of it or misses. Nothing printed: all is well.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	for _, file := range os.Args[1:] {
		raw, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		for _, complaint := range complaints(raw) {
			fmt.Printf("%s: %s\n", file, complaint)
		}
	}
}

func complaints(raw []byte) []string {
	var found []string
	var read dashboard.Dashboard
	// Where there is nothing to complain of, the error is there and says nothing.
	if err := read.UnmarshalJSONStrict(raw); err != nil && err.Error() != "" {
		found = append(found, err.Error())
	}
	if err := read.Validate(); err != nil && err.Error() != "" {
		found = append(found, err.Error())
	}
	// A panel of an unknown type is taken as it is.
	var panels struct {
		Panels []struct{ Type, Title string }
	}
	if err := json.Unmarshal(raw, &panels); err != nil {
		found = append(found, err.Error())
	}
	for _, panel := range panels.Panels {
		if _, known := cog.ConfigForPanelcfgVariant(panel.Type); !known {
			found = append(found, fmt.Sprintf("panel %q: there is no type %q", panel.Title, panel.Type))
		}
	}
	return found
}
