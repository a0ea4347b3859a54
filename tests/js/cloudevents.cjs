// Sends CloudEvents with the official JavaScript SDK: node cloudevents.cjs URL TOKEN TABLE
// Prints what was sent, in the structured form, as JSON.

const { CloudEvent, HTTP } = require("cloudevents");

const [url, token, table] = process.argv.slice(2);

async function post({ headers, body }) {
  const response = await fetch(`${url}/v1/streams/default/events?wait=committed&timeout=60s`, {
    method: "POST",
    headers: { ...headers, authorization: `Bearer ${token}`, table },
    body,
  });
  const text = await response.text();
  if (response.status !== 200 || JSON.parse(text).state !== "committed") {
    throw new Error(`${response.status} ${text}`);
  }
}

function event(id, rest) {
  return new CloudEvent({
    id,
    type: "com.example.js",
    source: "/tests/js",
    subject: "plain",
    time: "2026-02-28T23:59:59.123Z",
    comexampleextension: "kept",
    ...rest,
  });
}

async function main() {
  const sent = [
    // The SDK leaves attributes as they are in headers, so binary mode is for ASCII only.
    [HTTP.binary, event("js-binary-json", { datacontenttype: "application/json", data: { n: 1, list: [1.5, null, "ü"] } })],
    [HTTP.binary, event("js-binary-text", { datacontenttype: "text/plain", data: "plain ü" })],
    [HTTP.structured, event("js-structured-json", { subject: "größe 😀", data: { n: 2 } })],
    [HTTP.structured, event("js-structured-text", { datacontenttype: "text/plain", data: "plain" })],
    [HTTP.structured, event("js-structured-nothing", {})],
  ];
  for (const [mode, cloudEvent] of sent) {
    await post(mode(cloudEvent));
  }
  const batch = [event("js-batch-1", { data: { n: 3 } }), event("js-batch-2", { data: { n: 4 } })];
  await post({
    headers: { "content-type": "application/cloudevents-batch+json" },
    body: JSON.stringify(batch),
  });
  console.log(JSON.stringify([...sent.map(([, cloudEvent]) => cloudEvent), ...batch]));
}

main();
