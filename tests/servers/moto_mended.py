"""moto's server where its answers would else be none that AWS gives.

Run by an environment that has moto, as a program; nothing imports it. A cluster's CA is a
certificate, a registry's token is good for twelve hours, and requests without a body are checked by
the signature of the request without a body.
"""

import sys
from base64 import b64encode
from datetime import UTC, datetime, timedelta

from moto.ecr.responses import ECRResponse
from moto.eks.models import Cluster
from moto.iam.access_control import IAMRequestBase
from moto.server import main

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nof the cluster\n-----END CERTIFICATE-----\n"

make_cluster = Cluster.__init__
get_token = ECRResponse.get_authorization_token
make_request = IAMRequestBase._create_aws_request


def cluster_with_a_certificate(self, *args, **kwargs):
    make_cluster(self, *args, **kwargs)
    self.certificate_authority = {"data": b64encode(CERTIFICATE.encode()).decode()}


def token_of_today(self):
    answer = get_token(self)
    for issued in answer.result["authorizationData"]:
        issued["expiresAt"] = datetime.now(UTC) + timedelta(hours=12)
    return answer


def request_as_it_came(self):
    request = make_request(self)
    if self._method == "GET":
        request.data = b""
    return request


Cluster.__init__ = cluster_with_a_certificate
ECRResponse.get_authorization_token = token_of_today
IAMRequestBase._create_aws_request = request_as_it_came

if __name__ == "__main__":
    main(sys.argv[1:])
