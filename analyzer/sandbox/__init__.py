"""The embedded default: a small cluster on loopback, as real as it can be without a container engine.

Real: Envoy as the gateway, Prometheus, every HTTP request, every connection, every failure of one.
Models, and named so: the Deployment controller with the kubelet, the HPA controller, istiod. A pod is an HTTP server of
its own whose latency, errors and CPU cost are declared in its container's environment.
"""
