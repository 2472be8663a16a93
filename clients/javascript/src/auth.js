import { isPassing } from "./errors.js";

const STORED_AS = "keepsake.refresh_token";
const ACCESS_STORED_AS = "keepsake.access_token"; // with the time to renew it before it
const EARLY_S = 30;

/**
 * The tokens of whoever is signed in: the refresh token where `storage` keeps it, the access token in memory, and with
 * `storeAccessToken` in `storage` too.
 * With `getToken` the tokens are somebody else's, and nothing is kept here.
 */
export function createAuth({ request, getToken, storage, storeAccessToken }) {
  let refreshToken = storage?.getItem(STORED_AS) ?? null;
  let [renewAt, accessToken = null] = (refreshToken && storeAccessToken && storage.getItem(ACCESS_STORED_AS)?.split(" ")) || [];
  let renewing = null;
  const listeners = new Set();

  function keep(answer) {
    const was = refreshToken !== null;
    accessToken = answer?.access_token ?? null;
    refreshToken = answer?.refresh_token ?? null;
    renewAt = Date.now() + (answer ? answer.expires_in - Math.min(EARLY_S, answer.expires_in / 2) : 0) * 1000;
    if (refreshToken) storage?.setItem(STORED_AS, refreshToken);
    else storage?.removeItem(STORED_AS);
    if (refreshToken && storeAccessToken) storage?.setItem(ACCESS_STORED_AS, `${renewAt} ${accessToken}`);
    else storage?.removeItem(ACCESS_STORED_AS);
    if (was !== (refreshToken !== null)) for (const listener of listeners) listener(!was);
  }

  async function exchange() {
    // Another tab may have renewed the token that both know.
    const used = (refreshToken = storage?.getItem(STORED_AS) ?? refreshToken);
    try {
      // The answer to a second try is the first one's: a refresh token may be sent again for ten seconds.
      const json = { refresh_token: used };
      const passing = (error) => error.status === 429 || isPassing(error); // after a minute at most there is room again
      const answer = await request("POST", "/api/auth/refresh", { json, anonymous: true, retries: 2, passing });
      if (refreshToken === used) keep(answer);
    } catch (error) {
      if (![400, 401, 403, 422].includes(error.status)) throw error;
      if (refreshToken === used) keep(null);
    }
  }

  /** One exchange for all who wait: a refresh token counts once. */
  const renew = () => (renewing ??= exchange().finally(() => (renewing = null)));

  async function token() {
    if (getToken) return getToken();
    if (refreshToken && !(accessToken && Date.now() < renewAt)) await renew();
    return accessToken;
  }

  return {
    token,

    /** A token in the place of one that was refused; null where there is none. */
    async another(refused) {
      if (getToken) {
        const given = await getToken({ refused });
        return given === refused ? null : given;
      }
      if (refreshToken && accessToken === refused) await renew();
      return accessToken === refused ? null : accessToken;
    },

    methods: {
      register: (fields, { signal } = {}) => request("POST", "/api/auth/register", { json: fields, signal, anonymous: true }),

      async login(fields, { signal } = {}) {
        const answer = await request("POST", "/api/auth/login", { json: fields, signal, anonymous: true });
        keep(answer);
        return answer;
      },

      async logout() {
        await renewing?.catch(() => {});
        const json = { refresh_token: refreshToken };
        keep(null);
        if (json.refresh_token) await request("POST", "/api/auth/logout", { json, anonymous: true, retries: 2 });
      },

      me: ({ signal } = {}) => request("GET", "/api/auth/me", { signal }),
      token,

      get signedIn() {
        return refreshToken !== null;
      },

      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
  };
}
