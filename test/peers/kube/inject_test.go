package kube

import (
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/kube/inject"
	"github.com/weftmesh/weft/kube/inject/webhook"
)

// injected is a cluster whose API server asks the webhook about pods.
type injected struct {
	*cluster
	kube  kubernetes.Interface
	asked *httptest.Server
	// warned are the warnings that the API server has shown.
	warned *output
}

// HandleWarningHeader implements rest.WarningHandler.
func (i *injected) HandleWarningHeader(_ int, _, text string) {
	_, _ = i.warned.Write([]byte(text + "\n"))
}

func startInjected(t *testing.T) *injected {
	t.Helper()
	i := &injected{cluster: startCluster(t), warned: &output{}}
	injector, err := inject.New(inject.Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h := webhook.Handler(webhook.Options{Injector: func() *inject.Injector { return injector }, Log: slog.New(slog.NewTextHandler(&output{}, nil))})
	mux.Handle(webhook.Path, h)
	mux.Handle(webhook.Path+"/", h)
	i.asked = httptest.NewTLSServer(mux)
	t.Cleanup(i.asked.Close)
	config := i.config(admin)
	config.WarningHandler = i
	if i.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	i.configure()
	return i
}

// configure has the API server ask: with all that an installation sets, but a URL.
func (i *injected) configure() {
	i.t.Helper()
	url := i.asked.URL + webhook.Path + "/cluster/east"
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.asked.Certificate().Raw})
	none, fail, seconds := admissionv1.SideEffectClassNone, admissionv1.Fail, int32(10)
	hooks := inject.Webhooks("", "weft-system")
	for k := range hooks {
		hooks[k].ClientConfig = admissionv1.WebhookClientConfig{URL: &url, CABundle: ca}
		hooks[k].SideEffects, hooks[k].FailurePolicy, hooks[k].TimeoutSeconds, hooks[k].AdmissionReviewVersions = &none, &fail, &seconds, []string{"v1"}
	}
	_, err := i.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(i.t.Context(),
		&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "weft-inject"}, Webhooks: hooks}, metav1.CreateOptions{})
	if err != nil {
		i.t.Fatal(err)
	}
	for name, labels := range map[string]map[string]string{
		"shop": {"istio-injection": "enabled"}, "plain": nil, "no": {"istio-injection": "disabled"}, "weft-system": {"istio-injection": "enabled"},
	} {
		if _, err := i.kube.CoreV1().Namespaces().Create(i.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}); err != nil {
			i.t.Fatal(err)
		}
	}
}

// pod is a pod with one program.
func injectable(name string, labels, notes map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: notes},
		Spec: corev1.PodSpec{ServiceAccountName: "default", Containers: []corev1.Container{{
			Name: "web", Image: "web:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/up", Port: intstr.FromString("http")}}},
		}}},
	}
}

// create makes a pod and returns what is stored.
func (i *injected) create(namespace string, p *corev1.Pod) (*corev1.Pod, error) {
	i.t.Helper()
	return i.kube.CoreV1().Pods(namespace).Create(i.t.Context(), p, metav1.CreateOptions{})
}

func names(list []corev1.Container) (out []string) {
	for _, c := range list {
		out = append(out, c.Name)
	}
	return out
}

// TestInjection: the API server asks about the pods that it should, takes the patches of
// all kinds of them, and stores pods that are valid.
func TestInjection(t *testing.T) {
	i := startInjected(t)
	i.until("the webhook is asked", func() error { // the configuration takes a moment
		p, err := i.create("shop", injectable("first", nil, nil))
		if err != nil {
			return err
		}
		defer i.remove("v1", "Pod", "shop", "first")
		if len(p.Spec.InitContainers) == 0 {
			return errNotYet
		}
		return nil
	})
	yes, no := map[string]string{"sidecar.istio.io/inject": "true"}, map[string]string{"sidecar.istio.io/inject": "false"}
	gateway := injectable("gateway", yes, map[string]string{"inject.istio.io/templates": "gateway"})
	gateway.Spec.Containers = []corev1.Container{{Name: "istio-proxy", Image: "auto"}}
	for name, c := range map[string]struct {
		namespace         string
		pod               *corev1.Pod
		inits, containers []string
	}{
		"a namespace that wants it":      {"shop", injectable("a", nil, nil), []string{"istio-init", "istio-proxy"}, []string{"web"}},
		"a pod that does not":            {"shop", injectable("b", no, nil), nil, []string{"web"}},
		"a namespace that says nothing":  {"plain", injectable("c", nil, nil), nil, []string{"web"}},
		"a pod that asks":                {"plain", injectable("d", yes, nil), []string{"istio-init", "istio-proxy"}, []string{"web"}},
		"a namespace that says no":       {"no", injectable("e", yes, nil), nil, []string{"web"}},
		"kube-system":                    {"kube-system", injectable("f", yes, nil), nil, []string{"web"}},
		"the control plane":              {"weft-system", injectable("g", nil, nil), nil, []string{"web"}},
		"a gateway of the control plane": {"plain", gateway, nil, []string{"istio-proxy"}},
		"classic":                        {"shop", injectable("h", nil, map[string]string{"sidecar.istio.io/nativeSidecar": "false"}), []string{"istio-init"}, []string{"web", "istio-proxy"}},
		"not redirected":                 {"shop", injectable("i", nil, map[string]string{"sidecar.istio.io/interceptionMode": "NONE"}), []string{"istio-proxy"}, []string{"web"}},
		"an agent for gRPC":              {"shop", injectable("j", nil, map[string]string{"inject.istio.io/templates": "grpc-agent"}), nil, []string{"web", "istio-proxy"}},
		"a bootstrap for gRPC":           {"shop", injectable("k", nil, map[string]string{"inject.istio.io/templates": "grpc-simple"}), []string{"grpc-bootstrap-init"}, []string{"web"}},
		"a volume of the user's": {"shop", injectable("l", nil, map[string]string{
			"sidecar.istio.io/userVolume": `{"own":{"emptyDir":{}}}`, "sidecar.istio.io/userVolumeMount": `{"own":{"mountPath":"/own"}}`,
		}), []string{"istio-init", "istio-proxy"}, []string{"web"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := i.create(c.namespace, c.pod)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := names(got.Spec.InitContainers), names(got.Spec.Containers); !slices.Equal(a, c.inits) || !slices.Equal(b, c.containers) {
				t.Errorf("init containers %v, containers %v; want %v, %v", a, b, c.inits, c.containers)
			}
		})
	}
	i.stored(t)
	if _, err := i.create("shop", injectable("m", nil, map[string]string{"sidecar.istio.io/proxyCPU": "much"})); err == nil || !strings.Contains(err.Error(), "WEFT0496 Pod shop/m: annotation sidecar.istio.io/proxyCPU") {
		t.Errorf("a pod that cannot be: %v", err)
	}
	if _, err := i.create("shop", injectable("n", nil, map[string]string{"sidecar.istio.io/statsFlushInterval": "1s"})); err != nil || !strings.Contains(i.warned.String(), "WEFT0490 Pod shop/n") {
		t.Errorf("%v, warned %s", err, i.warned)
	}
	i.webhookDown(t)
}

// stored looks at one pod as it is stored.
func (i *injected) stored(t *testing.T) {
	t.Helper()
	p, err := i.kube.CoreV1().Pods("shop").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	proxy := p.Spec.InitContainers[1]
	if proxy.RestartPolicy == nil || *proxy.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("the proxy is no native sidecar")
	}
	env := map[string]string{}
	for _, e := range proxy.Env {
		env[e.Name] = e.Value
	}
	if env["ISTIO_META_CLUSTER_ID"] != "east" || !strings.Contains(env["ISTIO_KUBE_APP_PROBERS"], `"/app-health/web/readyz":{"httpGet":{"path":"/up","port":8080`) {
		t.Errorf("variables are %v", env)
	}
	if h := p.Spec.Containers[0].ReadinessProbe.HTTPGet; h.Path != "/app-health/web/readyz" || h.Port.IntVal != 15020 {
		t.Errorf("the probe is %+v", h)
	}
}

// webhookDown: without the webhook the namespaces that are not injected, and the control
// plane's own, go on; in the others no pod runs without its proxy.
func (i *injected) webhookDown(t *testing.T) {
	t.Helper()
	i.asked.Close()
	for namespace, ok := range map[string]bool{"shop": false, "plain": true, "weft-system": true, "kube-system": true} {
		_, err := i.create(namespace, injectable("late", nil, nil))
		if ok != (err == nil) || err != nil && !apierrors.IsInternalError(err) {
			t.Errorf("without the webhook, in %s: %v", namespace, err)
		}
	}
}
