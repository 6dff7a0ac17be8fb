// Times libsignal's Node binding for bench_ratchet.py: a process of its own, which times itself.
//
// Only this driver lives here, nothing of libsignal (AGPL-3.0): the benchmark's docstring says how to
// fetch it. `node libsignal.mjs DIRECTORY`, then a line per burst on standard input, `chain 500`,
// `ping-pong 500` or `first 20`; the answer is a line with the microseconds a message took, or for
// `bytes` the sizes of a message in a chain and of a first message, in JSON.

import path from "node:path";
import readline from "node:readline";
import { randomBytes } from "node:crypto";
import { pathToFileURL } from "node:url";

const where = path.resolve(process.argv[2], "node_modules/@signalapp/libsignal-client/dist/index.js");
const signal = await import(pathToFileURL(where));
const TEXT = new Uint8Array(randomBytes(200));
const address = (name) => signal.ProtocolAddress.new(name, 1);

class Sessions extends signal.SessionStore {
  kept = new Map();
  async saveSession(name, record) { this.kept.set(name.toString(), record); }
  async getSession(name) { return this.kept.get(name.toString()) ?? null; }
  async getExistingSessions(names) { return names.map((name) => this.kept.get(name.toString())); }
}

class Identities extends signal.IdentityKeyStore {
  constructor(key) { super(); this.key = key; }
  async getIdentityKey() { return this.key; }
  async getLocalRegistrationId() { return 5; }
  async saveIdentity() { return signal.IdentityChange.NewOrUnchanged; }
  async isTrustedIdentity() { return true; }
  async getIdentity() { return null; }
}

class Prekeys extends signal.PreKeyStore {
  async savePreKey(_id, record) { this.record = record; }
  async getPreKey() { return this.record; }
  async removePreKey() {}
}

class SignedPrekeys extends signal.SignedPreKeyStore {
  async saveSignedPreKey(_id, record) { this.record = record; }
  async getSignedPreKey() { return this.record; }
}

class KyberPrekeys extends signal.KyberPreKeyStore {
  async saveKyberPreKey(_id, record) { this.record = record; }
  async getKyberPreKey() { return this.record; }
  async markKyberPreKeyUsed() {}
}

class End {
  constructor(name) {
    this.address = address(name);
    this.key = signal.PrivateKey.generate();
    this.sessions = new Sessions();
    this.identities = new Identities(this.key);
    this.prekeys = [new Prekeys(), new SignedPrekeys(), new KyberPrekeys()];
  }

  async bundle() {
    const [once, signed] = [signal.PrivateKey.generate(), signal.PrivateKey.generate()];
    const kyber = signal.KEMKeyPair.generate();
    const sign = (key) => this.key.sign(key.serialize());
    const [signedBy, kyberBy] = [sign(signed.getPublicKey()), sign(kyber.getPublicKey())];
    await this.prekeys[0].savePreKey(1, signal.PreKeyRecord.new(1, once.getPublicKey(), once));
    await this.prekeys[1].saveSignedPreKey(
      2, signal.SignedPreKeyRecord.new(2, Date.now(), signed.getPublicKey(), signed, signedBy));
    await this.prekeys[2].saveKyberPreKey(
      3, signal.KyberPreKeyRecord.new(3, Date.now(), kyber, kyberBy));
    return signal.PreKeyBundle.new(
      5, 1, 1, once.getPublicKey(), 2, signed.getPublicKey(), signedBy,
      this.key.getPublicKey(), 3, kyber.getPublicKey(), kyberBy);
  }

  async begin(bundle, peer) {
    await signal.processPreKeyBundle(
      bundle, peer.address, this.address, this.sessions, this.identities);
  }

  async seal(peer) {
    const message = await signal.signalEncrypt(
      TEXT, peer.address, this.address, this.sessions, this.identities);
    return message.serialize();
  }

  async open(raw, peer) {
    return signal.signalDecrypt(
      signal.SignalMessage.deserialize(raw), peer.address, this.address, this.sessions,
      this.identities);
  }

  async openFirst(raw, peer) {
    return signal.signalDecryptPreKey(
      signal.PreKeySignalMessage.deserialize(raw), peer.address, this.address, this.sessions,
      this.identities, ...this.prekeys);
  }
}

const [alice, bob] = [new End("alice"), new End("bob")];
await alice.begin(await bob.bundle(), bob);
const first = await alice.seal(bob);
await bob.openFirst(first, alice);
await alice.open(await bob.seal(alice), bob);
let turn = 0;

const bursts = {
  async chain() { await bob.open(await alice.seal(bob), alice); },
  async "ping-pong"() {
    const [one, other] = turn++ % 2 ? [bob, alice] : [alice, bob];
    await other.open(await one.seal(other), one);
  },
};

async function timed(name, count) {
  const begun = process.hrtime.bigint();
  for (let done = 0; done < count; done++) await bursts[name]();
  return Number(process.hrtime.bigint() - begun) / 1000 / count;
}

async function timedFirst(count) {
  let spent = 0;
  for (let done = 0; done < count; done++) {
    const [one, other] = [new End("one"), new End("other")];
    const bundle = await other.bundle();
    const begun = process.hrtime.bigint();
    await one.begin(bundle, other);
    await other.openFirst(await one.seal(other), one);
    spent += Number(process.hrtime.bigint() - begun);
  }
  return spent / 1000 / count;
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, count] = line.split(" ");
  if (name === "bytes") {
    let longest = 0, total = 0;
    for (let done = 0; done < 200; done++) {
      const size = (await alice.seal(bob)).length;
      [longest, total] = [Math.max(longest, size), total + size];
    }
    await bob.open(await alice.seal(bob), alice);
    console.log(JSON.stringify([total / 200, first.length]));
  } else if (name === "first") console.log(await timedFirst(Number(count)));
  else console.log(await timed(name, Number(count)));
}
