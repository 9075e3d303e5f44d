"""Where Services lead to: EndpointSlices, and the Endpoints objects of old.

- `view`       what is known: the Service, its pods, what was written before
- `slices`     EndpointSlices, of at most 100 endpoints each
- `endpoints`  the one Endpoints object
"""
