// Makes and updates elements. Data only ever becomes text or an attribute, never markup.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes (and listeners, as `onclick`) and children, which are elements or texts.
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Sets what changed and nothing else, so that a refresh disturbs neither selection nor focus.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

// Keeps one child of `parent` for each item, in order: `make` builds it, `update` fills it at every refresh. Items of the
// same key are told apart by their order.
export function keyed(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const used = new Map();
  let before = parent.firstChild;
  for (const item of items) {
    const wanted = String(keyOf(item));
    const same = used.get(wanted) ?? 0;
    used.set(wanted, same + 1);
    const key = same === 0 ? wanted : `${wanted}\n${same}`;
    let child = known.get(key);
    known.delete(key);
    if (child === undefined) {
      child = make(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === before) before = child.nextSibling;
    else parent.insertBefore(child, before);
  }
  for (const gone of known.values()) gone.remove();
}
