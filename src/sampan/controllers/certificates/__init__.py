"""CertificateSigningRequests: who is approved at once, what is signed, what is cleaned up."""
