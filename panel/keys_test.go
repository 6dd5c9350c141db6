package panel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeys(t *testing.T) {
	s, _, logs := newService(t, nil)
	ctx := t.Context()
	_, err := s.Authenticate(ctx, "")
	require.ErrorIs(t, err, ErrUnauthorized)
	k, token, err := s.CreateKey(ctx, "eyes", RoleViewer)
	require.NoError(t, err)
	who, err := s.Authenticate(ctx, token)
	require.NoError(t, err)
	require.Equal(t, k, who)
	_, err = s.Authenticate(ctx, token+"x")
	require.ErrorIs(t, err, ErrUnauthorized)
	_, _, err = s.CreateKey(ctx, "", "root")
	require.ErrorContains(t, err, "role")
	require.ErrorContains(t, s.EnsureAdminKey(ctx, "short"), "too short")
	require.NoError(t, s.EnsureAdminKey(ctx, "the first admin key"))
	require.NoError(t, s.EnsureAdminKey(ctx, "the first admin key"))
	require.NoError(t, s.EnsureAdminKey(ctx, "the second admin key"))
	_, err = s.Authenticate(ctx, "the first admin key")
	require.ErrorIs(t, err, ErrUnauthorized, "the settings name one admin key")
	who, err = s.Authenticate(ctx, "the second admin key")
	require.NoError(t, err)
	require.Equal(t, RoleAdmin, who.Role)
	list, next, err := s.Keys(ctx, Page{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Empty(t, next)
	first, next, err := s.Keys(ctx, Page{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, list[:1], first)
	second, last, err := s.Keys(ctx, Page{Limit: 1, Cursor: next})
	require.NoError(t, err)
	require.Equal(t, list[1:], second)
	require.Empty(t, last)
	require.NoError(t, s.DeleteKey(ctx, k.ID))
	require.ErrorIs(t, s.DeleteKey(ctx, k.ID), ErrNotFound)
	require.ErrorIs(t, s.DeleteKey(ctx, adminKeyName), ErrConflict, "nobody shuts himself out")
	_, err = s.Authenticate(ctx, token)
	require.ErrorIs(t, err, ErrUnauthorized)
	require.NotContains(t, logs.String(), token)
}

// Who rotates the key from the settings to one that was made here must not leave the old one valid.
func TestAnOldAdminKeyEnds(t *testing.T) {
	for _, role := range []string{RoleAdmin, RoleViewer} {
		t.Run(role, func(t *testing.T) {
			s, _, _ := newService(t, nil)
			ctx := t.Context()
			require.NoError(t, s.EnsureAdminKey(ctx, "the first admin key"))
			made, token, err := s.CreateKey(ctx, "made here", role)
			require.NoError(t, err)
			require.NoError(t, s.EnsureAdminKey(ctx, token))
			_, err = s.Authenticate(ctx, "the first admin key")
			require.ErrorIs(t, err, ErrUnauthorized)
			k, err := s.Authenticate(ctx, token)
			require.NoError(t, err)
			require.Equal(t, RoleAdmin, k.Role)
			require.ErrorIs(t, s.DeleteKey(ctx, made.ID), ErrNotFound, "it has no other name")
			require.ErrorIs(t, s.DeleteKey(ctx, k.ID), ErrConflict)
		})
	}
}
