"""The API contract, the server's half: service models, and each wire protocol read and written by them.

`model` loads a service; `validate` checks a request against it; `aws_json`, `query`, `rest_json` and `rest_xml` each
turn a request into a dict with AWS's member names, and a result or an error back into bytes. `rest` and `scalars` hold
what several protocols share. Nothing here knows a single operation: all of it follows the model.
"""
