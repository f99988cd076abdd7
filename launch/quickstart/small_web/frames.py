"""Headers and footers of invented sites, by language: what a careless extractor leaves around a text."""

from __future__ import annotations

Frame = tuple[tuple[str, ...], tuple[str, ...]]

FRAMES: dict[str, Frame] = {
    "eng_Latn": (
        (
            "Home | News | Sport | Weather | Subscribe",
            "You are here: Start > Archive > Article",
            "Skip to content",
            "Menu Search Sign in",
            "Share this page: Facebook Twitter E-mail Print",
            "Reading time: 3 minutes",
        ),
        (
            "© All rights reserved. No part of this site may be copied.",
            "Sign up for our newsletter and never miss a story.",
            "Leave a comment (0)",
            "Previous article | Next article",
            "Terms of use | Privacy policy | Contact us",
            "You may also like: ten photographs that you have to see",
            "Was this page helpful? Yes No",
        ),
    ),
    "deu_Latn": (
        (
            "Startseite | Nachrichten | Sport | Wetter | Abo",
            "Sie sind hier: Start > Archiv > Artikel",
            "Zum Inhalt springen",
            "Menü Suche Anmelden",
            "Artikel teilen: Facebook E-Mail Drucken",
        ),
        (
            "© Alle Rechte vorbehalten. Nachdruck nur mit Genehmigung.",
            "Jetzt den Newsletter bestellen und nichts mehr verpassen.",
            "Kommentar schreiben (0)",
            "Impressum | Datenschutz | AGB | Kontakt",
            "Das könnte Sie auch interessieren",
            "Vorheriger Beitrag | Nächster Beitrag",
        ),
    ),
    "fra_Latn": (
        (
            "Accueil | Actualités | Sport | Météo | Abonnement",
            "Vous êtes ici : Accueil > Archives > Article",
            "Aller au contenu",
            "Menu Recherche Connexion",
            "Partager : Facebook E-mail Imprimer",
        ),
        (
            "© Tous droits réservés. Reproduction interdite.",
            "Inscrivez-vous à notre lettre d'information.",
            "Laisser un commentaire (0)",
            "Mentions légales | Confidentialité | Contact",
            "À lire aussi sur le même sujet",
            "Article précédent | Article suivant",
        ),
    ),
    "spa_Latn": (
        (
            "Inicio | Noticias | Deportes | El tiempo | Suscríbete",
            "Estás en: Inicio > Archivo > Artículo",
            "Saltar al contenido",
            "Menú Buscar Entrar",
            "Compartir: Facebook Correo Imprimir",
        ),
        (
            "© Todos los derechos reservados.",
            "Suscríbete a nuestro boletín y no te pierdas nada.",
            "Deja un comentario (0)",
            "Aviso legal | Privacidad | Contacto",
            "También te puede interesar",
            "Entrada anterior | Entrada siguiente",
        ),
    ),
    "por_Latn": (
        (
            "Início | Notícias | Esportes | Tempo | Assine",
            "Você está em: Início > Arquivo > Artigo",
            "Ir para o conteúdo",
            "Menu Buscar Entrar",
            "Compartilhar: Facebook E-mail Imprimir",
        ),
        (
            "© Todos os direitos reservados.",
            "Assine o nosso boletim e receba as novidades.",
            "Deixe um comentário (0)",
            "Termos de uso | Privacidade | Contato",
            "Leia também",
            "Anterior | Próximo",
        ),
    ),
    "ita_Latn": (
        (
            "Home | Notizie | Sport | Meteo | Abbonati",
            "Sei qui: Home > Archivio > Articolo",
            "Vai al contenuto",
            "Menu Cerca Accedi",
            "Condividi: Facebook E-mail Stampa",
        ),
        (
            "© Tutti i diritti riservati.",
            "Iscriviti alla newsletter per non perdere nulla.",
            "Lascia un commento (0)",
            "Note legali | Privacy | Contatti",
            "Potrebbe interessarti anche",
            "Articolo precedente | Articolo successivo",
        ),
    ),
    "nld_Latn": (
        (
            "Home | Nieuws | Sport | Weer | Abonneren",
            "U bent hier: Home > Archief > Artikel",
            "Naar de inhoud",
            "Menu Zoeken Inloggen",
            "Delen: Facebook E-mail Afdrukken",
        ),
        (
            "© Alle rechten voorbehouden.",
            "Meld je aan voor onze nieuwsbrief.",
            "Plaats een reactie (0)",
            "Voorwaarden | Privacy | Contact",
            "Lees ook deze artikelen",
            "Vorige | Volgende",
        ),
    ),
    "swe_Latn": (
        (
            "Hem | Nyheter | Sport | Väder | Prenumerera",
            "Du är här: Hem > Arkiv > Artikel",
            "Hoppa till innehållet",
            "Meny Sök Logga in",
            "Dela: Facebook E-post Skriv ut",
        ),
        (
            "© Alla rättigheter förbehållna.",
            "Anmäl dig till vårt nyhetsbrev.",
            "Skriv en kommentar (0)",
            "Villkor | Integritet | Kontakt",
            "Läs även",
            "Föregående | Nästa",
        ),
    ),
    "pol_Latn": (
        (
            "Strona główna | Wiadomości | Sport | Pogoda | Prenumerata",
            "Jesteś tutaj: Start > Archiwum > Artykuł",
            "Przejdź do treści",
            "Menu Szukaj Zaloguj się",
            "Udostępnij: Facebook E-mail Drukuj",
        ),
        (
            "© Wszelkie prawa zastrzeżone.",
            "Zapisz się do newslettera i bądź na bieżąco.",
            "Dodaj komentarz (0)",
            "Regulamin | Prywatność | Kontakt",
            "Zobacz także",
            "Poprzedni wpis | Następny wpis",
        ),
    ),
    "tur_Latn": (
        (
            "Ana sayfa | Haberler | Spor | Hava durumu | Abone ol",
            "Buradasınız: Ana sayfa > Arşiv > Makale",
            "İçeriğe geç",
            "Menü Ara Giriş yap",
            "Paylaş: Facebook E-posta Yazdır",
        ),
        (
            "© Tüm hakları saklıdır.",
            "Bültenimize abone olun, hiçbir haberi kaçırmayın.",
            "Yorum yap (0)",
            "Kullanım koşulları | Gizlilik | İletişim",
            "Bunlar da ilginizi çekebilir",
            "Önceki yazı | Sonraki yazı",
        ),
    ),
    "rus_Cyrl": (
        (
            "Главная | Новости | Спорт | Погода | Подписка",
            "Вы здесь: Главная > Архив > Статья",
            "Перейти к содержанию",
            "Меню Поиск Войти",
            "Поделиться: ВКонтакте Почта Печать",
        ),
        (
            "© Все права защищены. Перепечатка запрещена.",
            "Подпишитесь на нашу рассылку.",
            "Оставить комментарий (0)",
            "Условия использования | Конфиденциальность | Контакты",
            "Читайте также",
            "Предыдущая запись | Следующая запись",
        ),
    ),
    "ukr_Cyrl": (
        (
            "Головна | Новини | Спорт | Погода | Передплата",
            "Ви тут: Головна > Архів > Стаття",
            "Перейти до вмісту",
            "Меню Пошук Увійти",
            "Поділитися: Фейсбук Пошта Друк",
        ),
        (
            "© Усі права захищено. Передрук заборонено.",
            "Підпишіться на нашу розсилку.",
            "Залишити коментар (0)",
            "Умови користування | Конфіденційність | Контакти",
            "Читайте також",
            "Попередній запис | Наступний запис",
        ),
    ),
    "ell_Grek": (
        (
            "Αρχική | Ειδήσεις | Αθλητικά | Καιρός | Συνδρομή",
            "Βρίσκεστε εδώ: Αρχική > Αρχείο > Άρθρο",
            "Μετάβαση στο περιεχόμενο",
            "Μενού Αναζήτηση Σύνδεση",
            "Κοινοποίηση: Facebook Email Εκτύπωση",
        ),
        (
            "© Με επιφύλαξη παντός δικαιώματος.",
            "Εγγραφείτε στο ενημερωτικό μας δελτίο.",
            "Αφήστε σχόλιο (0)",
            "Όροι χρήσης | Απόρρητο | Επικοινωνία",
            "Διαβάστε επίσης",
            "Προηγούμενο | Επόμενο",
        ),
    ),
    "arb_Arab": (
        (
            "الرئيسية | الأخبار | الرياضة | الطقس | اشترك",
            "أنت هنا: الرئيسية > الأرشيف > مقال",
            "انتقل إلى المحتوى",
            "القائمة بحث تسجيل الدخول",
            "شارك: فيسبوك بريد طباعة",
        ),
        (
            "© جميع الحقوق محفوظة.",
            "اشترك في نشرتنا البريدية ليصلك كل جديد.",
            "أضف تعليقًا (0)",
            "شروط الاستخدام | الخصوصية | اتصل بنا",
            "اقرأ أيضًا",
            "المقال السابق | المقال التالي",
        ),
    ),
    "heb_Hebr": (
        (
            "דף הבית | חדשות | ספורט | מזג אוויר | מינוי",
            "אתם כאן: דף הבית > ארכיון > כתבה",
            "דלג לתוכן",
            "תפריט חיפוש כניסה",
            "שתפו: פייסבוק דואר הדפסה",
        ),
        (
            "© כל הזכויות שמורות.",
            "הירשמו לניוזלטר שלנו ואל תפספסו דבר.",
            "כתבו תגובה (0)",
            "תנאי שימוש | פרטיות | צור קשר",
            "אולי יעניין אתכם גם",
            "הכתבה הקודמת | הכתבה הבאה",
        ),
    ),
    "hin_Deva": (
        (
            "मुखपृष्ठ | समाचार | खेल | मौसम | सदस्यता",
            "आप यहाँ हैं: मुखपृष्ठ > संग्रह > लेख",
            "सामग्री पर जाएँ",
            "मेन्यू खोजें लॉग इन",
            "साझा करें: फ़ेसबुक ईमेल प्रिंट",
        ),
        (
            "© सर्वाधिकार सुरक्षित।",
            "हमारे न्यूज़लेटर की सदस्यता लें।",
            "टिप्पणी लिखें (0)",
            "उपयोग की शर्तें | गोपनीयता | संपर्क",
            "यह भी पढ़ें",
            "पिछला लेख | अगला लेख",
        ),
    ),
    "cmn_Hani": (
        (
            "首页 | 新闻 | 体育 | 天气 | 订阅",
            "当前位置：首页 > 存档 > 正文",
            "跳到正文",
            "菜单 搜索 登录",
            "分享到：微博 邮件 打印",
        ),
        (
            "版权所有，未经许可不得转载。",
            "订阅我们的电子报，不错过任何消息。",
            "发表评论（0）",
            "使用条款 | 隐私政策 | 联系我们",
            "相关阅读",
            "上一篇 | 下一篇",
        ),
    ),
    "jpn_Jpan": (
        (
            "ホーム | ニュース | スポーツ | 天気 | 購読",
            "現在地：ホーム > 過去の記事 > 本文",
            "本文へ移動",
            "メニュー 検索 ログイン",
            "共有する：メール 印刷",
        ),
        (
            "無断転載を禁じます。",
            "メールマガジンの登録はこちら。",
            "コメントを書く（0）",
            "利用規約 | プライバシー | お問い合わせ",
            "あわせて読みたい",
            "前の記事 | 次の記事",
        ),
    ),
    "kor_Hang": (
        (
            "홈 | 뉴스 | 스포츠 | 날씨 | 구독",
            "현재 위치: 홈 > 보관함 > 기사",
            "본문으로 건너뛰기",
            "메뉴 검색 로그인",
            "공유하기: 메일 인쇄",
        ),
        (
            "무단 전재와 재배포를 금합니다.",
            "소식지를 신청하고 새 글을 받아 보세요.",
            "댓글 쓰기 (0)",
            "이용약관 | 개인정보처리방침 | 문의하기",
            "함께 보면 좋은 글",
            "이전 글 | 다음 글",
        ),
    ),
}
"""Header lines and footer lines by the label of the page's file."""
