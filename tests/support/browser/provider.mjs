// A strict OpenID provider: npm's oidc-provider, with one client, which must use PKCE, and whoever signs in as themselves.
//
// node provider.mjs MODULES PORT CLIENT-AS-JSON

import { pathToFileURL } from "node:url";

const [modules, port, client] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/node_modules/oidc-provider/lib/index.js`));
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [JSON.parse(client)],
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
  scopes: ["openid", "email", "groups", "offline_access"],
  // In the ID token, and not at another address alone.
  conformIdTokenClaims: false,
  features: { devInteractions: { enabled: true } },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.org`, email_verified: true, groups: ["dev"] }),
  }),
  pkce: { required: () => true },
  rotateRefreshToken: true,
});
provider.listen(Number(port), "127.0.0.1", () => console.log("it listens"));
