package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/control/identity"
)

// rootPause is how long is waited before the server is asked for the root again.
const rootPause = time.Second

// Root is the mesh's root, out of the Secret of the namespace, which is made when it is not
// there. A server that is away, or that does not let us, is asked again until ctx ends.
// A Secret that somebody else has made with a root of his own is used as it is.
func (c *Cluster) Root(ctx context.Context) (*identity.Authority, error) {
	said := ""
	for {
		s, err := c.secret(ctx)
		if err == nil {
			where := "Secret " + c.namespace + "/" + RootSecret + ": "
			ca, err := identity.Parse(s.Data[certKey], s.Data[keyKey], where+certKey, where+keyKey)
			if err != nil {
				return nil, err
			}
			c.root = ca.Root()
			return ca, nil
		}
		if err.Error() != said {
			said = err.Error()
			c.log.Warn("waiting for the root certificate", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.NewTimer(rootPause).C:
		}
	}
}

// secret is the one that is there, or a new one. Of several who make one, one does.
func (c *Cluster) secret(ctx context.Context) (*corev1.Secret, error) {
	secrets := c.core.Secrets(c.namespace)
	s, err := secrets.Get(ctx, RootSecret, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return s, err
	}
	cert, key, err := identity.NewRoot()
	if err != nil {
		return nil, fmt.Errorf("new root: %w", err)
	}
	s, err = secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: RootSecret, Labels: labels()}, Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{certKey: cert, keyKey: key},
	}, metav1.CreateOptions{FieldManager: manager})
	if apierrors.IsAlreadyExists(err) {
		return secrets.Get(ctx, RootSecret, metav1.GetOptions{})
	}
	if err == nil {
		c.log.Info("a root certificate was made", "secret", c.namespace+"/"+RootSecret)
	}
	return s, err
}

// labels are those of what the control plane makes.
func labels() map[string]string {
	return map[string]string{"app.kubernetes.io/part-of": "weft", "app.kubernetes.io/managed-by": "weft-control"}
}
