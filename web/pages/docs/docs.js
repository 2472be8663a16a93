// Swagger UI over this gateway's own description. Its one addition: a button that makes what the examples speak of
// (a customer, a picture, an order, an organisation, a checkout session), so that each call works as it stands there.

const PASSWORD = "correct horse battery";

/** Show the description; `made` is what the button made, in the place of the description's own examples. */
async function show(made = { parameters: {}, bodies: {} }) {
  const description = await (await fetch("/openapi.json")).json();
  description.servers = [{ url: location.origin }]; // the address of this page, whichever name it was opened by
  for (const [path, operations] of Object.entries(description.paths)) {
    for (const [method, { parameters = [], requestBody }] of Object.entries(operations)) {
      const name = `${method.toUpperCase()} ${path}`;
      const values = { ...made.parameters, ...made.parameters[name] };
      for (const parameter of parameters) {
        if (parameter.name in values) parameter.example = values[parameter.name];
        if (parameter.name === "key") delete parameter.schema.pattern; // is of one segment; a key has several
      }
      fillBody(requestBody?.content ?? {}, made.bodies[name]);
    }
  }
  return SwaggerUIBundle({
    spec: description,
    domNode: document.getElementById("swagger-ui"),
    deepLinking: true,
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
    layout: "BaseLayout",
    // A key's slashes are part of the path, and an encoded slash is refused.
    requestInterceptor: (request) => {
      request.url = request.url.replace(/%2F/gi, "/");
      if (request.url.split("?")[0].endsWith("/events")) request.userFetch = fetchForAWhile;
      return request;
    },
    tryItOutEnabled: true,
    validatorUrl: null,
  });
}

/** A stream of events has no end: show what comes in its first seconds. */
async function fetchForAWhile(url, request) {
  const response = await fetch(url, request);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  setTimeout(() => reader.cancel(), 3000);
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
  return new Response(text, { status: response.status, headers: response.headers });
}

function fillBody(content, values) {
  if (!values) return;
  for (const [type, described] of Object.entries(content)) {
    if (type !== "multipart/form-data") {
      described.example = values;
      continue;
    }
    const texts = Object.entries(values).map(([name, example]) => [name, { type: "string", ...described.schema.properties[name], example }]);
    // Text before the files: S3 ignores what comes behind them.
    described.schema.properties = { ...Object.fromEntries(texts), ...omit(described.schema.properties, values) };
  }
}

const omit = (from, names) => Object.fromEntries(Object.entries(from).filter(([name]) => !(name in names)));

/** A small picture, drawn here. */
async function draw() {
  const canvas = new OffscreenCanvas(900, 900);
  const brush = canvas.getContext("2d");
  const hue = Math.random() * 360;
  for (let stripe = 0; stripe < 18; stripe++) {
    brush.fillStyle = `hsl(${hue + stripe * 6} 60% ${35 + (stripe % 6) * 8}%)`;
    brush.fillRect(0, stripe * 50, 900, 50);
  }
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
  return new File([blob], "example.jpg", { type: "image/jpeg" });
}

/** Make one of everything that an example names; return the customer's name and token, and the examples. */
async function make() {
  const { createKeepsake } = await import("/client/index.js");
  const keepsake = createKeepsake({ baseUrl: location.origin });
  const { auth } = keepsake;
  const username = `docs-${Date.now().toString(36)}`;
  const register = (name) => auth.register({ username: name, email: `${name}@example.com`, password: PASSWORD });

  const [, member] = await Promise.all([username, `${username}-member`, `${username}-guest`].map(register));
  // One sign-in for refresh and logout to use up, and one that stays.
  const { refresh_token } = await createKeepsake({ baseUrl: location.origin }).auth.login({ username, password: PASSWORD });
  await auth.login({ username, password: PASSWORD });

  const photo = await draw();
  const ofUser = (caption) => keepsake.userImages.upload(photo, { username, imageType: "gallery", caption });
  // What is used up (retrieved once, deleted) is made twice, so that the calls can be tried in any order.
  const [temporary, forSession, stored, kept, deleted, deletedByPost, order, changed, deletedOrder, { id: org_id }] = await Promise.all([
    keepsake.tempImages.upload(photo),
    keepsake.tempImages.upload(photo),
    keepsake.images.store(photo, { purpose: "original" }),
    ofUser("An example"),
    ofUser("To be deleted"),
    ofUser("To be deleted by POST"),
    keepsake.orders.create([photo], { petName: "Rex" }),
    keepsake.orders.create([photo], { petName: "Max" }),
    keepsake.orders.create([photo], { petName: "Kim" }),
    keepsake.organizations.create("Examples"),
  ]);
  const organization = keepsake.organizations(org_id);
  const [{ s3_key }, { fields }, { session_id }] = await Promise.all([
    organization.upload(photo),
    organization.presign({ type: photo.type, name: photo.name, size: photo.size }),
    keepsake.checkout.open(forSession),
    organization.addMember({ userId: member.id, role: "member" }),
  ]);
  return {
    username,
    token: await auth.token(),
    parameters: {
      username,
      filename: order.order_metadata.files[0].filename,
      id: kept.image.id,
      imageId: temporary.imageId,
      key: stored.key,
      order_id: order.order_id,
      org_id,
      session_id,
      user_id: member.id,
      "DELETE /api/user_image/{id}/delete": { id: deleted.image.id },
      "POST /api/user_image/{id}/delete": { id: deletedByPost.image.id },
      "PUT /api/images/orders/{order_id}/files/{filename}": {
        order_id: changed.order_id,
        filename: changed.order_metadata.files[0].filename,
      },
      "DELETE /api/images/orders/{order_id}": { order_id: deletedOrder.order_id },
    },
    bodies: {
      "POST /api/auth/register": { username: `${username}-new`, email: `${username}-new@example.com`, password: PASSWORD },
      "POST /api/auth/login": { username, password: PASSWORD },
      "POST /api/auth/refresh": { refresh_token },
      "POST /api/auth/logout": { refresh_token },
      "POST /api/upload_user_image": { username, image_type: "profile", is_primary: "true", caption: "Me" },
      "POST /api/checkout/embedded-session": { imageId: forSession.imageId },
      "POST /api/v1/organizations/{org_id}/members": { username: `${username}-guest`, role: "member" },
      "POST /api/v1/organizations/{org_id}/images/promote": { s3_key, purpose: "events" },
      "POST /media": fields,
    },
  };
}

// Each field of the box for tokens asks for the focus, and the last one gets it: its beginning is where one begins.
document.addEventListener("click", ({ target }) => {
  if (!target.closest(".auth-wrapper > .authorize, .authorization__btn")) return;
  setTimeout(() => {
    const box = document.querySelector(".modal-ux-content");
    box?.querySelector("input")?.focus();
    box?.scrollTo(0, 0);
  });
});

const said = document.getElementById("said");
const refused = document.getElementById("refused");
const button = document.getElementById("prepare");

button.addEventListener("click", async () => {
  button.disabled = true;
  refused.textContent = "";
  said.textContent = "Making them…";
  try {
    const made = await make();
    const ui = await show(made);
    ui.preauthorizeApiKey("bearer", made.token);
    said.textContent = `Done: for the next 15 minutes you are ${made.username}, and the examples name what is yours.`;
  } catch (error) {
    said.textContent = "";
    refused.textContent = error.message;
  }
  button.disabled = false;
});

show();
