"""Requests and answers: SOAP over HTTPS, sent again while what fails may pass."""
