// Grafana's own description of dashboards. Grafana itself is in no registry that can be relied on.
module headwater/grafana-schema

go 1.24.0

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
