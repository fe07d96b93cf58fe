// Votes to be sent: kept in this browser until the server confirms that they are on its disk.

export class Outbox {
  constructor(about, saved, complain) {
    this.about = { file: about.file, stage: about.stage };
    this.saved = saved;
    this.complain = complain;
    this.sending = null;
    this.failing = false;
    // Each tab keeps its own votes and takes over those of closed tabs. The server recognises votes
    // that are sent twice by their key.
    const prefix = `lenspipe votes ${about.file} ${about.grader} ${about.stage} `;
    const left = Object.keys(localStorage).filter((name) => name.startsWith(prefix)).sort();
    this.votes = left.flatMap((name) => JSON.parse(localStorage.getItem(name)));
    this.name = `${prefix}${Date.now()} ${randomKey()}`;
    this.keep();
    for (const name of left) localStorage.removeItem(name);
    this.send();
  }

  get waiting() { return this.votes.length; }

  // Votes waiting here are newer than those on the server.
  apply(entries) {
    const at = new Map(entries.map((entry) => [entry.place, entry]));
    for (const { place, grade, comment, tags = [] } of this.votes)
      if (at.has(place)) Object.assign(at.get(place), { grade, comment, tags, n: Infinity });
  }

  add(vote) {
    this.votes.push({ key: randomKey(), ...vote });
    this.keep();
    this.send();
  }

  keep() {
    try {
      if (this.votes.length) localStorage.setItem(this.name, JSON.stringify(this.votes));
      else localStorage.removeItem(this.name);
    } catch (error) {
      // The browser's storage is full: votes wait in this page only, which warns before closing.
      console.warn(error);
    }
    this.saved(this.votes.length, this.failing);
  }

  send() { return (this.sending ??= this.sendAll().finally(() => (this.sending = null))); }

  async empty() { while (this.votes.length) await this.send(); }

  async sendAll() {
    let pause = 500;
    this.saved(this.votes.length, this.failing);
    while (this.votes.length) {
      const problem = await this.post(this.votes.slice(0, 500));
      this.failing = Boolean(problem);
      this.keep();
      this.complain(problem);
      if (!problem) { pause = 500; continue; }
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(2 * pause, 8000);
    }
  }

  // Empty on success, else a message.
  async post(votes) {
    let answer, content;
    try {
      answer = await fetch("votes", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ ...this.about, votes }),
      });
      content = await answer.json();
    } catch {
      return "The portal does not answer. You can go on: your votes are kept here and sent when it is running again.";
    }
    if (!answer.ok) return `${content.error}. Your votes are kept here and sent again.`;
    const kept = new Set(content.kept);
    this.votes = this.votes.filter((vote) => !kept.has(vote.key));
    return "";
  }
}

function randomKey() {
  const words = crypto.getRandomValues(new Uint32Array(4));
  return Array.from(words, (word) => word.toString(16).padStart(8, "0")).join("");
}
