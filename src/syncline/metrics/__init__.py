"""What runs say, as numbers and traces for other people's systems: Prometheus, OpenTelemetry, CloudWatch."""
