// Asks the policy crate, compiled to WebAssembly, one question. The program reads it from standard input and writes the answer to
// standard output; of the system it gets nothing else (WASI preview 1, only what it imports).
"use strict";

/** The answer to a question; `program` is the bytes of the program, compiled once. */
function askPolicy(program, question) {
  const input = new TextEncoder().encode(JSON.stringify(question));
  const output = [];
  let read = 0;
  let memory;
  const view = () => new DataView(memory.buffer);
  // Each vector is an address and a length, of four bytes each.
  const each = (vectors, count, take) => {
    let all = 0;
    for (let at = vectors; at < vectors + 8 * count; at += 8) {
      const [start, length] = [view().getUint32(at, true), view().getUint32(at + 4, true)];
      all += take(new Uint8Array(memory.buffer, start, length));
    }
    return all;
  };
  const none = { count: 0, bytes: 0 };
  const sizes = (count, bytes) => {
    view().setUint32(count, none.count, true);
    view().setUint32(bytes, none.bytes, true);
    return 0;
  };
  const BAD_FILE = 8;
  const system = {
    fd_read(file, vectors, count, size) {
      if (file !== 0) return BAD_FILE;
      const taken = each(vectors, count, (room) => {
        const piece = input.subarray(read, read + room.length);
        room.set(piece);
        read += piece.length;
        return piece.length;
      });
      view().setUint32(size, taken, true);
      return 0;
    },
    fd_write(file, vectors, count, size) {
      if (file !== 1 && file !== 2) return BAD_FILE;
      const given = each(vectors, count, (piece) => {
        if (file === 1) output.push(...piece);
        return piece.length;
      });
      view().setUint32(size, given, true);
      return 0;
    },
    environ_sizes_get: sizes,
    args_sizes_get: sizes,
    environ_get: () => 0,
    args_get: () => 0,
    // For the order of hash maps, and nothing secret.
    random_get(start, length) {
      crypto.getRandomValues(new Uint8Array(memory.buffer, start, length));
      return 0;
    },
    proc_exit(status) {
      throw new Error(`the program ended with ${status}`);
    },
  };
  const refused = () => BAD_FILE;
  const imports = {};
  for (const { module, name } of WebAssembly.Module.imports(program)) {
    (imports[module] ??= {})[name] = system[name] ?? refused;
  }
  const running = new WebAssembly.Instance(program, imports);
  memory = running.exports.memory;
  running.exports._start();
  return JSON.parse(new TextDecoder().decode(new Uint8Array(output)));
}

if (typeof module !== "undefined") module.exports = { askPolicy };
