"""Django: a middleware that sets `request.peer` and `request.user`, and `@require(...)` on a view."""

from types import SimpleNamespace

from django import conf, http, urls
from django.core.asgi import get_asgi_application
from django.utils.deprecation import MiddlewareMixin

from services.authorization.authorizers import allow_email, allow_uri, any_of
from services.peer import NoPeerError, current_peer


class PeerMiddleware(MiddlewareMixin):
    def process_request(self, request):
        try:
            request.peer = current_peer()
        except NoPeerError:  # another server serves this: nobody is verified
            return http.HttpResponseForbidden()
        request.user = SimpleNamespace(username=request.peer.identity.name, is_authenticated=True)
        return None


def require(may):
    refuse = http.HttpResponseForbidden
    return lambda view: lambda request, **found: view(request, **found) if may(request.peer.identity) else refuse()


def hello(request):
    return http.JsonResponse({"greeting": f"Hello {request.user.username}!"})


@require(any_of(allow_email("*@ops.example.com"), allow_uri("spiffe://example.com/ops/*")))
def admin(request):
    return http.JsonResponse({"operator": request.user.username})


urlpatterns = [urls.path("", hello), urls.path("admin", admin)]
conf.settings.configure(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.PeerMiddleware"])
app = get_asgi_application()
