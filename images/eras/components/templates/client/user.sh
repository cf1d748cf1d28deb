# Written by baibox; changes are overwritten.
# `source` it on the host to use a client there as user@lablup.com; the workspace has the administrator's already.
export BACKEND_ENDPOINT='http://127.0.0.1:{{ports.manager}}'
export BACKEND_ENDPOINT_TYPE='api'
export BACKEND_ACCESS_KEY='AKIANABBDUSEREXAMPLE'
export BACKEND_SECRET_KEY='C8qnIo29EZvXkPK_MXcuAakYTy4NYrxwmCEyNPlf'
