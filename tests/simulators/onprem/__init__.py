"""An Exchange 2016 server as far as contacts go: EWS over HTTPS, with real sign-in, impersonation and schemas."""
