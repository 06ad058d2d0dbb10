const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** Return a safe link target, or null for anything but an absolute web or mail address. */
export function safeAddress(href: string): string | null {
  try {
    const address = new URL(href);
    return SCHEMES.has(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}
