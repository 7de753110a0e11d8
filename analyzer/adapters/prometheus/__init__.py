"""Istio's metrics from Prometheus, behind the port `Telemetry`.

telemetry  the port: which queries, on which threads, and when not to ask at all
client     one blocking query over prometheus-api-client, and the traps of that stack
failures   every way in which a query can fail, in words
parse      PromQL and its answers
breaker    no queries to a Prometheus that does not answer
"""

from analyzer.adapters.prometheus.telemetry import PrometheusTelemetry

__all__ = ["PrometheusTelemetry"]
