"""What kubelet is to drivers on its node: plugin registration, claims of devices, device plugins, CSI."""
